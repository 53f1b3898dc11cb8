"""Resize and Upsample in float64: every mode is separable, so each axis is one small matrix (out, in).

Coordinates are computed in float32, as engines do and as the type of `scales` says: they decide which pixel
is nearest, so they are a part of the model and not of its noise. Formulas: ONNX document of Resize, opset 10
to 19 (antialias, keep_aspect_ratio_policy, axes).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ....operators.arguments import resize_inputs, resized, upsample_scales
from .shape import bounded
from .windows import Array

_F = np.float32


def resize(call: Any, x: Array, *inputs: Array | None) -> Array:
    """Resize and Upsample of every opset. Before opset 11 coordinates are asymmetric, and the nearest pixel
    is the one before or, where the axis gets smaller, the one behind."""
    roi, scales, sizes = (_given(inputs, at) for at in resize_inputs(call.op, call.opset))
    found = resized(call.get, x.shape, upsample_scales(call.get, scales), sizes)
    places = [
        (axis, int(size), float(scale))
        for axis, size, scale in zip(found.axes, found.sizes, found.scales, strict=True)
        if size is not None and scale is not None
    ]
    mode = call.get("mode", "nearest")
    if call.op == "Upsample" or call.opset < 11:
        mode = "linear" if mode == "bilinear" else mode
        return _apply(x, places, Rule(mode, "asymmetric", "simple"))
    rule = Rule(
        mode,
        call.get("coordinate_transformation_mode", "half_pixel"),
        call.get("nearest_mode", "round_prefer_floor"),
        call.get("cubic_coeff_a", -0.75),
        bool(call.get("exclude_outside", 0)),
        bool(call.get("antialias", 0)),
        call.get("extrapolation_value", 0.0),
    )
    return _apply(x, places, rule, roi)


def _given(inputs: Sequence[Array | None], at: int | None) -> list[Any] | None:
    """The numbers of an input behind the first, None where it is absent or empty."""
    given = inputs[at - 1] if at is not None and at <= len(inputs) else None
    return None if given is None or not given.size else given.reshape(-1).tolist()


def _half_pixel(at: Array, scale: Any, size: int, out: int, roi: Any) -> Array:
    return np.asarray((at + _F(0.5)) / scale - _F(0.5))


def _align_corners(at: Array, scale: Any, size: int, out: int, roi: Any) -> Array:
    return np.zeros(out, _F) if out == 1 else at * _F(size - 1) / _F(out - 1)


def _crop_and_resize(at: Array, scale: Any, size: int, out: int, roi: Any) -> Array:
    begin, end = roi
    if out == 1:
        return np.full(1, _F(0.5) * (begin + end) * _F(size - 1))
    return np.asarray(begin * _F(size - 1) + at * (end - begin) * _F(size - 1) / _F(out - 1))


def _symmetric(at: Array, scale: Any, size: int, out: int, roi: Any) -> Array:
    adjustment = _F(out) / (_F(size) * scale)
    return np.asarray(_F(size) / _F(2) * (1 - adjustment) + _half_pixel(at, scale, size, out, roi))


TRANSFORMS: dict[str, Callable[[Array, Any, int, int, Any], Array]] = {
    "half_pixel": _half_pixel,
    "half_pixel_symmetric": _symmetric,
    "pytorch_half_pixel": lambda at, scale, size, out, roi: (
        np.zeros(1, _F) if out == 1 else _half_pixel(at, scale, size, out, roi)
    ),
    "asymmetric": lambda at, scale, size, out, roi: np.asarray(at / scale),
    "align_corners": _align_corners,
    "tf_half_pixel_for_nn": lambda at, scale, size, out, roi: np.asarray((at + _F(0.5)) / scale),
    "tf_crop_and_resize": _crop_and_resize,
}


class Rule:
    """How one Resize node interpolates."""

    def __init__(
        self,
        mode: str,
        transform: str,
        nearest: str,
        a: float = -0.75,
        exclude: bool = False,
        antialias: bool = False,
        outside: float = 0.0,
    ) -> None:
        self.mode, self.transform, self.nearest, self.a = mode, transform, nearest, a
        self.exclude, self.antialias, self.outside = exclude, antialias, outside

    def coordinates(self, size: int, out: int, scale: float, roi: tuple[float, float]) -> Array:
        """Where each output lies on the input, in float32."""
        return TRANSFORMS[self.transform](
            np.arange(out, dtype=_F), _F(scale), size, out, (_F(roi[0]), _F(roi[1]))
        )

    def matrix(self, size: int, out: int, scale: float, roi: tuple[float, float]) -> tuple[Array, Array]:
        """(weights (out, in), which outputs lie outside the input)."""
        at = self.coordinates(size, out, scale, roi)
        outside = (
            (at < 0) | (at > size - 1) if self.transform == "tf_crop_and_resize" else np.zeros(out, np.bool_)
        )
        weights = np.zeros((out, size))
        for row, place in enumerate(at):
            for index, weight in self._taps(float(place), size, scale):
                weights[row, index] += weight
        return weights, outside

    def _taps(self, at: float, size: int, scale: float) -> list[tuple[int, float]]:
        if self.mode == "nearest":
            return [(min(max(self._near(at, scale), 0), size - 1), 1.0)]
        stretch = min(scale, 1.0) if self.antialias else 1.0
        reach = (1.0 if self.mode == "linear" else 2.0) / stretch
        first, last = math.floor(at - reach) + 1, math.ceil(at + reach) - 1
        if not self.antialias:
            first = math.floor(at) + 1 - int(reach)
            last = first + 2 * int(reach) - 1
        kernel = _triangle if self.mode == "linear" else self._cubic
        taps = [(i, kernel((i - at) * stretch)) for i in range(first, last + 1)]
        if self.exclude or self.antialias:
            taps = [(i, w if 0 <= i < size or not self.exclude else 0.0) for i, w in taps]
            total = sum(w for _, w in taps)
            taps = [(i, w / total) for i, w in taps]
        return [(min(max(i, 0), size - 1), w) for i, w in taps]

    def _near(self, at: float, scale: float) -> int:
        if self.nearest == "floor":
            return math.floor(at)
        if self.nearest == "ceil":
            return math.ceil(at)
        if self.nearest == "simple":
            return math.ceil(at) if scale < 1 else int(at)
        down = math.floor(at)
        if at - down == 0.5:
            return down if self.nearest == "round_prefer_floor" else down + 1
        return math.floor(at + 0.5)

    def _cubic(self, distance: float) -> float:
        a, d = self.a, abs(distance)
        if d <= 1:
            return (a + 2) * d**3 - (a + 3) * d**2 + 1
        return a * d**3 - 5 * a * d**2 + 8 * a * d - 4 * a if d < 2 else 0.0


def _triangle(distance: float) -> float:
    return max(0.0, 1.0 - abs(distance))


def _apply(
    x: Array, places: list[tuple[int, int, float]], rule: Rule, roi: Sequence[float] | None = None
) -> Array:
    """One axis after the other: `places` are (axis, its new size, its scale)."""
    sizes = {axis: size for axis, size, _ in places}
    bounded([sizes.get(axis, n) for axis, n in enumerate(x.shape)])
    result, lost = x.astype(np.float64), []
    for place, (axis, size, scale) in enumerate(places):
        region = (roi[place], roi[place + len(places)]) if roi else (0.0, 1.0)
        if size == x.shape[axis] and scale == 1 and region == (0.0, 1.0):
            continue
        weights, outside = rule.matrix(x.shape[axis], size, scale, region)
        result = np.moveaxis(np.tensordot(weights, result, axes=(1, axis)), 0, axis)
        lost.append((axis, outside))
    for axis, outside in lost:
        if outside.any():
            result[tuple(outside if i == axis else slice(None) for i in range(x.ndim))] = rule.outside
    return np.ascontiguousarray(result).astype(x.dtype, copy=False)


TABLE: dict[str, Callable[..., Any]] = {"Resize": resize, "Upsample": resize}
