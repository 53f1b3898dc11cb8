"""Moving values without computing: shapes, slices, gathers, pads. Attributes of old opsets and inputs of new
ones side by side."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ....operators import arguments
from ....operators.table import OPERATORS
from .windows import Array

MOST_ELEMENTS = 1 << 30
_PAD_MODES = {"reflect": "reflect", "edge": "edge", "wrap": "wrap"}


def _ints(call: Any, name: str, given: Array | None) -> list[int] | None:
    if given is not None:
        return [int(i) for i in np.asarray(given).reshape(-1)]
    found = call.get(name)
    return None if found is None else list(found)


def bounded(shape: Sequence[int]) -> tuple[int, ...]:
    """A shape that a model asks for; ValueError where no machine could hold it."""
    dims = tuple(int(d) for d in shape)
    if math.prod(dims) > MOST_ELEMENTS or min(dims, default=0) < 0:
        raise ValueError(f"a value of shape {dims} would have {math.prod(dims):,} elements")
    return dims


def reshape(call: Any, x: Array, shape: Array | None = None) -> Array:
    """The same values in another shape."""
    wanted = _ints(call, "shape", shape) or []
    return x.reshape(_known(arguments.reshaped(wanted, x.shape, bool(call.get("allowzero", 0)))))


def _known(sizes: arguments.Sizes) -> list[int]:
    """Sizes of an array's own shape are all numbers."""
    return [int(size) for size in sizes if size is not None]


def transpose(call: Any, x: Array) -> Array:
    """Axes in another order."""
    return x.transpose(arguments.permutation(call.get("perm"), x.ndim)).copy(order="C")


def flatten(call: Any, x: Array) -> Array:
    """Two dims, split at an axis."""
    return x.reshape(_known(arguments.flattened(call.get("axis", OPERATORS["Flatten"].axis), x.shape)))


def squeeze(call: Any, x: Array, axes: Array | None = None) -> Array:
    """Without axes of size 1."""
    return x.squeeze(tuple(arguments.squeezed_axes(_ints(call, "axes", axes), x.shape) or ()))


def unsqueeze(call: Any, x: Array, axes: Array | None = None) -> Array:
    """With more axes of size 1."""
    return x.reshape(_known(arguments.unsqueezed(_ints(call, "axes", axes) or (), x.shape)))


def concat(call: Any, *xs: Array) -> Array:
    """One after the other along an axis."""
    return np.concatenate(xs, axis=arguments.axis_argument(call.get, "Concat", xs[0].ndim))


def split(call: Any, x: Array, sizes: Array | None = None) -> tuple[Array, ...]:
    """Into parts along an axis."""
    axis, count = arguments.axis_argument(call.get, "Split", x.ndim), call.get("num_outputs")
    given = _ints(call, "split", sizes)
    parts = arguments.split_sizes(given, x.shape[axis], len(call.wanted), count) or []
    return tuple(np.split(x, np.cumsum(parts)[:-1].tolist(), axis=axis))


def slice_(
    call: Any,
    x: Array,
    starts: Array | None = None,
    ends: Array | None = None,
    axes: Array | None = None,
    steps: Array | None = None,
) -> Array:
    """Some of the entries along axes, in steps."""
    taken = arguments.cuts(
        _ints(call, "starts", starts) or [],
        _ints(call, "ends", ends) or [],
        _ints(call, "axes", axes),
        _ints(call, "steps", steps),
        x.ndim,
    )
    return x[tuple(cut.index(size) for cut, size in zip(taken, x.shape, strict=True))]


def gather(call: Any, x: Array, indices: Array) -> Array:
    """Entries along an axis; a negative index counts from the end, one out of range is an error."""
    return np.take(x, indices, axis=arguments.axis_argument(call.get, "Gather", x.ndim), mode="raise")


def gather_elements(call: Any, x: Array, indices: Array) -> Array:
    """One index per element of the result, which may be smaller than x along the other axes."""
    axis = arguments.axis_argument(call.get, "GatherElements", x.ndim)
    read = tuple(slice(None) if k == axis else slice(n) for k, n in enumerate(indices.shape))
    return np.take_along_axis(x[read], indices, axis=axis)


def expand(call: Any, x: Array, shape: Array) -> Array:
    """Broadcast both ways."""
    return np.array(np.broadcast_to(x, bounded(np.broadcast_shapes(x.shape, tuple(int(d) for d in shape)))))


def tile(call: Any, x: Array, repeats: Array, axis: Array | None = None) -> Array:
    """Repeated along each axis; in opset 1, along one."""
    counts = [int(count) for count in repeats.reshape(-1)]
    if axis is not None:
        counts = arguments.repeats_along(int(axis.item()), counts[0], x.ndim)
    bounded(_known(arguments.tiled(x.shape, counts)))
    return np.tile(x, counts)


def pad(
    call: Any, x: Array, pads: Array | None = None, value: Array | None = None, axes: Array | None = None
) -> Array:
    """Positive pads add, negative ones cut. Attributes are `paddings` (opset 1) or `pads` and `value`; inputs
    since 11."""
    wanted = _ints(call, "pads", pads) or list(call.get("paddings") or ())
    along = None if axes is None else _ints(call, "", axes)
    width = arguments.paddings(wanted, along, x.ndim)
    bounded(_known(tuple(arguments.padded(n, pair) for n, pair in zip(x.shape, width, strict=True))))
    cut = x[tuple(slice(max(-b, 0), n - max(-a, 0)) for (b, a), n in zip(width, x.shape, strict=True))]
    grown = [(max(b, 0), max(a, 0)) for b, a in width]
    mode = call.get("mode", "constant")
    if mode != "constant":
        return np.pad(cut, grown, mode=_PAD_MODES[mode])  # type: ignore[call-overload,no-any-return]
    fill = call.get("value", 0.0) if value is None else value.reshape(()).item()
    return np.pad(cut, grown, constant_values=fill)


def shape(call: Any, x: Array) -> Array:
    """The dims, or some of them (opset 15)."""
    return np.array(arguments.shape_part(call.get, x.shape), np.int64)


def constant(call: Any) -> Any:
    """A tensor, a number, a list of numbers."""
    from ..number_formats import widened

    kinds: dict[str, Callable[[Any], Any]] = {
        "value": lambda v: widened(v.numpy()),
        "value_float": np.float64,
        "value_floats": lambda v: np.array(v, np.float64),
        "value_int": np.int64,
        "value_ints": lambda v: np.array(v, np.int64),
        "value_string": lambda v: np.array(v, object),
        "value_strings": lambda v: np.array(list(v), object),
    }
    name = next((n for n in kinds if call.get(n) is not None), None)
    if name is None:
        raise ValueError("a Constant without a dense value")
    return np.asarray(kinds[name](call.get(name)))


def constant_of_shape(call: Any, dims: Array) -> Array:
    """Filled with one value, float zero by default."""
    from ..number_formats import widened

    given = call.get("value")
    fill = np.zeros(1) if given is None else widened(given.numpy())
    return np.full(bounded(dims.tolist()), fill.reshape(-1)[0])


def space_to_depth(call: Any, x: Array) -> Array:
    """Blocks of pixels become channels; DCR has the block position first, CRD the channel."""
    b = call.get("blocksize")
    shape = _known(arguments.space_to_depth(x.shape, b))
    order = (0, 3, 5, 1, 2, 4) if call.get("mode", "DCR") == "DCR" else (0, 1, 3, 5, 2, 4)
    parts = x.reshape(*x.shape[:2], shape[2], b, shape[3], b).transpose(order)
    return np.ascontiguousarray(parts).reshape(shape)


def depth_to_space(call: Any, x: Array) -> Array:
    """The way back; DCR has the block position first, CRD the channel."""
    b = call.get("blocksize")
    shape = _known(arguments.depth_to_space(x.shape, b))
    if call.get("mode", "DCR") == "DCR":
        parts = x.reshape(x.shape[0], b, b, shape[1], *x.shape[2:]).transpose(0, 3, 4, 1, 5, 2)
    else:
        parts = x.reshape(*shape[:2], b, b, *x.shape[2:]).transpose(0, 1, 4, 2, 5, 3)
    return np.ascontiguousarray(parts).reshape(shape)


def dropout(
    call: Any, x: Array, ratio: Array | None = None, training: Array | None = None
) -> Sequence[Array]:
    """Nothing, in inference; a training one draws random numbers and is refused."""
    if (training is not None and bool(np.asarray(training).reshape(()))) or (
        call.opset < 7 and not call.get("is_test", 0)
    ):
        raise ValueError("Dropout in training mode is random")
    return x, np.ones(x.shape, np.bool_)


def range_(call: Any, start: Array, limit: Array, delta: Array) -> Array:
    """Numbers from start to limit in steps."""
    bounded([max(0, math.ceil((limit.item() - start.item()) / delta.item()))])
    return np.arange(start.item(), limit.item(), delta.item(), dtype=start.dtype)


TABLE: dict[str, Callable[..., Any]] = {
    "Identity": lambda call, x: x,
    "Reshape": reshape,
    "Transpose": transpose,
    "Flatten": flatten,
    "Squeeze": squeeze,
    "Unsqueeze": unsqueeze,
    "Concat": concat,
    "Split": split,
    "Slice": slice_,
    "Gather": gather,
    "GatherElements": gather_elements,
    "Expand": expand,
    "Tile": tile,
    "Pad": pad,
    "Shape": shape,
    "Size": lambda call, x: np.array(x.size, np.int64),
    "Constant": constant,
    "ConstantOfShape": constant_of_shape,
    "SpaceToDepth": space_to_depth,
    "DepthToSpace": depth_to_space,
    "Dropout": dropout,
    "Range": range_,
}
