"""Conv, ConvTranspose, Gemm, MatMul, Einsum in float64: im2col and BLAS in blocks of bounded memory.

Weights are seen as (group, out/group, in/group·taps); one batched matrix product does all groups. Depthwise
convolutions, where such a product degenerates, add up one tap after the other. Large weights come as they are
stored (large_weights.py) and are widened part by part.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from ....files.memory import at_most
from ....operators.arguments import transposed_windows
from ..large_weights import Stored, Weight, parts
from .windows import Array, Windows, index, windows

BLOCK_BYTES = 64 << 20  # columns of one im2col block


def conv(call: Any, x: Array, w: Weight, b: Array | None = None) -> Array:
    """x (N, C, *in), w (M, C/group, *k) -> (N, M, *out)."""
    group = call.get("group", 1)
    if x.shape[1] != w.shape[1] * group or w.shape[0] % group:
        raise ValueError(f"{x.shape[1]} channels do not fit weights of shape {w.shape} in {group} groups")
    seen = windows(call, x.shape[2:], w.shape[2:])
    padded = seen.padded(x, 0.0)
    result = (
        _by_taps(padded, w, seen, group)
        if w.shape[1] == 1 and group > 1
        else _by_columns(padded, w, seen, group)
    )
    return result if b is None else _add_channels(result, b)


def _add_channels(y: Array, b: Array) -> Array:
    y += b.reshape(-1, *(1,) * (y.ndim - 2))
    return y


def _by_taps(padded: Array, w: Weight, seen: Windows, group: int) -> Array:
    """One input channel per group: y[n, g, m] = sum over taps of w[g, m, tap]·x[n, g] there."""
    per, ones = w.shape[0] // group, (1,) * len(seen.out)
    result = np.zeros((padded.shape[0], group, per, *seen.out))
    for tap in seen.taps():
        factor = w[index(slice(None), 0, *tap)].reshape(group, per, *ones)
        result += factor * seen.at(padded, tap)[:, :, None]
    return result.reshape(padded.shape[0], w.shape[0], *seen.out)


def _by_columns(padded: Array, w: Weight, seen: Windows, group: int) -> Array:
    result = np.empty((padded.shape[0], w.shape[0], *seen.out))
    if group > 1:
        _products(result, padded, np.ascontiguousarray(w[:].reshape(group, w.shape[0] // group, -1)), seen)
        return result
    for rows in parts(w, 0):
        part = w[rows]
        _products(result[:, rows], padded, np.ascontiguousarray(part.reshape(1, part.shape[0], -1)), seen)
    return result


def _products(result: Array, padded: Array, matrix: Array, seen: Windows) -> None:
    """Weights (group, out/group, in/group·taps) times every window, into `result`."""
    row = padded.shape[1] * math.prod(seen.kernel) * math.prod(seen.out[1:]) * 8
    step = max(1, at_most(BLOCK_BYTES) // max(row, 1))
    for image in range(padded.shape[0]):
        for start in range(0, seen.out[0], step):
            stop = min(start + step, seen.out[0])
            part = padded[image : image + 1, :, start * seen.strides[0] :]
            columns = _columns(part, seen.rows(start, stop), len(matrix))
            block = np.matmul(matrix, columns).reshape(result.shape[1], stop - start, *seen.out[1:])
            result[image, :, start:stop] = block


def _columns(padded: Array, seen: Windows, group: int) -> Array:
    """(group, C/group·taps, windows) of one image."""
    images = seen.seen(padded)
    return np.ascontiguousarray(images).reshape(group, padded.shape[1] // group * math.prod(seen.kernel), -1)


def conv_transpose(call: Any, x: Array, w: Weight, b: Array | None = None) -> Array:
    """x (N, C, *in), w (C, M/group, *k) -> (N, M, *out): every input value spreads the kernel over the
    output."""
    group, size, kernel = call.get("group", 1), x.shape[2:], w.shape[2:]
    if x.shape[1] != w.shape[0] or w.shape[0] % group:
        raise ValueError(f"{x.shape[1]} channels do not fit weights of shape {w.shape} in {group} groups")
    along = transposed_windows(call.get, kernel)
    strides, dilations = tuple(window.stride for window in along), tuple(window.dilation for window in along)
    before, out = zip(*(window.place(n) for window, n in zip(along, size, strict=True)), strict=True)
    if min(out) < 0:
        raise ValueError(f"pads leave an output of {list(out)}")
    images, channels, per = x.shape[0], x.shape[1], w.shape[1]
    whole = [
        max((i - 1) * s + (k - 1) * d + 1, b_ + o)
        for i, s, k, d, b_, o in zip(size, strides, kernel, dilations, before, out, strict=True)
    ]
    result = np.zeros((images, group * per, *whole))
    flat = x.reshape(images, group, channels // group, -1)
    seen = Windows(tuple(whole), kernel, strides, dilations, before, before, tuple(size))
    for tap in seen.taps():
        weights = w[index(slice(None), slice(None), *tap)].reshape(group, channels // group, per)
        part = np.matmul(weights.transpose(0, 2, 1), flat)
        seen.at(result, tap)[...] += part.reshape(images, group * per, *size)
    result = np.ascontiguousarray(
        result[index(..., *(slice(p, p + o) for p, o in zip(before, out, strict=True)))]
    )
    return result if b is None else _add_channels(result, b)


def matmul(call: Any, a: Array, b: Weight) -> Array:
    """numpy's rules; a large second factor is a matrix or a stack of them, taken by columns."""
    if not isinstance(b, Stored) or b.ndim < 2:
        return np.asarray(np.matmul(a, b[:] if isinstance(b, Stored) else b))
    return np.concatenate([np.matmul(a, b[..., columns]) for columns in parts(b, -1)], axis=-1)


def gemm(call: Any, a: Array, b: Weight, c: Array | None = None) -> Array:
    """alpha·A'·B' + beta·C; before opset 7 `broadcast` is implied by the shapes."""
    left = a.T if call.get("transA", 0) else a
    right = b.T if call.get("transB", 0) else b
    product = matmul(call, left, right)
    if a.dtype == np.float64:
        product = product * call.get("alpha", 1.0)
        return np.asarray(product if c is None else product + c * call.get("beta", 1.0))
    return np.asarray(product if c is None else (product + c).astype(a.dtype))


def einsum(call: Any, *operands: Array) -> Array:
    """numpy's einsum knows the same equations."""
    return np.asarray(np.einsum(call.get("equation").replace(" ", ""), *operands, optimize=True))


TABLE: dict[str, Callable[..., Any]] = {
    "Conv": conv,
    "ConvTranspose": conv_transpose,
    "Gemm": gemm,
    "MatMul": matmul,
    "Einsum": einsum,
}
