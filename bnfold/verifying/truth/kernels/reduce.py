"""Reductions and cumulations in float64. Axes come as an attribute or, in newer opsets, as an input; what is
reduced over no axes keeps its shape, and is still squared, or its logarithm taken."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ....operators.arguments import axis_argument, reduced_axes
from .windows import Array


def _reduction(compute: Callable[[Array, tuple[int, ...], bool], Any]) -> Callable[..., Array]:
    def run(call: Any, x: Array, axes: Array | None = None) -> Array:
        given = call.get("axes") if axes is None else axes.tolist()
        wanted = tuple(reduced_axes(given, x.ndim, bool(call.get("noop_with_empty_axes", 0))))
        return np.asarray(compute(x, wanted, bool(call.get("keepdims", 1)))).astype(x.dtype, copy=False)

    return run


def _lowest(x: Array) -> Any:
    return False if x.dtype == np.bool_ else -np.inf if x.dtype.kind == "f" else np.iinfo(x.dtype).min


def _highest(x: Array) -> Any:
    return True if x.dtype == np.bool_ else np.inf if x.dtype.kind == "f" else np.iinfo(x.dtype).max


def _log_sum_exp(x: Array, axes: tuple[int, ...], keep: bool) -> Any:
    top = x.max(axis=axes, keepdims=True, initial=-np.inf)
    top = np.where(np.isfinite(top), top, 0.0)
    total = np.log(np.exp(x - top).sum(axis=axes, keepdims=True)) + top
    return total if keep else total.squeeze(axes)


def _arg(find: Callable[..., Any]) -> Callable[..., Array]:
    def run(call: Any, x: Array) -> Array:
        axis = axis_argument(call.get, "ArgMax", x.ndim)
        last = call.get("select_last_index", 0)
        found = x.shape[axis] - 1 - find(np.flip(x, axis), axis=axis) if last else find(x, axis=axis)
        return np.asarray(np.expand_dims(found, axis) if call.get("keepdims", 1) else found).astype(np.int64)

    return run


def cum_sum(call: Any, x: Array, axis: Array) -> Array:
    """Running sums, optionally from the end, optionally without the value itself."""
    at = int(np.asarray(axis).reshape(()))
    turned = np.flip(x, at) if call.get("reverse", 0) else x
    total = np.cumsum(turned, axis=at, dtype=x.dtype)
    total = total - turned if call.get("exclusive", 0) else total
    return np.flip(total, at) if call.get("reverse", 0) else total


TABLE: dict[str, Callable[..., Any]] = {
    "ReduceSum": _reduction(lambda x, a, k: x.sum(axis=a, keepdims=k)),
    "ReduceMean": _reduction(lambda x, a, k: x.mean(axis=a, keepdims=k)),
    "ReduceMax": _reduction(lambda x, a, k: x.max(axis=a, keepdims=k, initial=_lowest(x))),
    "ReduceMin": _reduction(lambda x, a, k: x.min(axis=a, keepdims=k, initial=_highest(x))),
    "ReduceProd": _reduction(lambda x, a, k: x.prod(axis=a, keepdims=k)),
    "ReduceL1": _reduction(lambda x, a, k: np.abs(x).sum(axis=a, keepdims=k)),
    "ReduceL2": _reduction(lambda x, a, k: np.sqrt((x * x).sum(axis=a, keepdims=k))),
    "ReduceSumSquare": _reduction(lambda x, a, k: (x * x).sum(axis=a, keepdims=k)),
    "ReduceLogSum": _reduction(lambda x, a, k: np.log(x.sum(axis=a, keepdims=k))),
    "ReduceLogSumExp": _reduction(_log_sum_exp),
    "ArgMax": _arg(np.argmax),
    "ArgMin": _arg(np.argmin),
    "CumSum": cum_sum,
}
