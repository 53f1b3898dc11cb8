"""Moving values without computing: shapes, slices, gathers, pads. Attributes of old opsets and inputs of new
ones side by side."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

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
    """0 keeps a dim (unless allowzero), -1 takes what is left."""
    wanted = _ints(call, "shape", shape) or []
    if not call.get("allowzero", 0):
        wanted = [x.shape[i] if d == 0 else d for i, d in enumerate(wanted)]
    return x.reshape(wanted)


def transpose(call: Any, x: Array) -> Array:
    """Axes reversed unless perm says otherwise."""
    return np.ascontiguousarray(x.transpose(call.get("perm")))


def flatten(call: Any, x: Array) -> Array:
    """Two dims, split at an axis."""
    axis = call.get("axis", 1)
    first = int(np.prod(x.shape[: axis if axis >= 0 else axis + x.ndim], dtype=np.int64))
    return x.reshape(first, x.size // first if first else 0)


def squeeze(call: Any, x: Array, axes: Array | None = None) -> Array:
    """Without the named axes of size 1, or without all of them."""
    wanted = _ints(call, "axes", axes)
    return x.squeeze() if wanted is None else x.squeeze(tuple(a % x.ndim for a in wanted))


def unsqueeze(call: Any, x: Array, axes: Array | None = None) -> Array:
    """With axes of size 1 where they are named, counted in the result."""
    return np.expand_dims(x, tuple(_ints(call, "axes", axes) or ()))


def concat(call: Any, *xs: Array) -> Array:
    """One after the other along an axis (1 where opset 1 leaves it out)."""
    return np.concatenate(xs, axis=call.get("axis", 1))


def split(call: Any, x: Array, sizes: Array | None = None) -> tuple[Array, ...]:
    """In the sizes given, else in equal parts, the last one smaller (num_outputs, opset 18)."""
    axis = call.get("axis", 0)
    parts = _ints(call, "split", sizes)
    if parts is None:
        count = call.get("num_outputs") or len(call.wanted)
        each = -(-x.shape[axis] // count)
        parts = [min(each, x.shape[axis] - each * i) for i in range(count)]
    return tuple(np.split(x, np.cumsum(parts)[:-1].tolist(), axis=axis))


def slice_(
    call: Any,
    x: Array,
    starts: Array | None = None,
    ends: Array | None = None,
    axes: Array | None = None,
    steps: Array | None = None,
) -> Array:
    """Bounds clamp to the dims, as in numpy; a negative step that ends before the first element ends at the
    first."""
    begin, end = _ints(call, "starts", starts) or [], _ints(call, "ends", ends) or []
    along = _ints(call, "axes", axes) or list(range(len(begin)))
    step = _ints(call, "steps", steps) or [1] * len(begin)
    index = [slice(None)] * x.ndim
    for b, e, a, s in zip(begin, end, along, step, strict=True):
        past_first = s < 0 and e < -x.shape[a]
        index[a] = slice(b, None if past_first else e, s)
    return x[tuple(index)]


def gather(call: Any, x: Array, indices: Array) -> Array:
    """Entries along an axis; a negative index counts from the end, one out of range is an error."""
    return np.take(x, indices, axis=call.get("axis", 0), mode="raise")


def gather_elements(call: Any, x: Array, indices: Array) -> Array:
    """One index per element of the result."""
    return np.take_along_axis(x, indices, axis=call.get("axis", 0))


def expand(call: Any, x: Array, shape: Array) -> Array:
    """Broadcast both ways."""
    return np.array(np.broadcast_to(x, bounded(np.broadcast_shapes(x.shape, tuple(int(d) for d in shape)))))


def tile(call: Any, x: Array, repeats: Array, axis: Array | None = None) -> Array:
    """Repeated along each axis; in opset 1, along one."""
    if axis is not None:
        repeats = np.where(np.arange(x.ndim) == int(axis.item()) % x.ndim, repeats.item(), 1).astype(np.int64)
    bounded([n * r for n, r in zip(x.shape, repeats.tolist(), strict=True)])
    return np.tile(x, repeats.tolist())


def pad(
    call: Any, x: Array, pads: Array | None = None, value: Array | None = None, axes: Array | None = None
) -> Array:
    """Positive pads add, negative ones cut. Attributes are `paddings` (opset 1) or `pads` and `value`; inputs
    since 11."""
    wanted = _ints(call, "pads", pads) or list(call.get("paddings") or ())
    along = [a % x.ndim for a in (_ints(call, "", axes) if axes is not None else None) or range(x.ndim)]
    width = [(0, 0)] * x.ndim
    for place, axis in enumerate(along):
        width[axis] = (wanted[place], wanted[place + len(along)])
    cut = x[tuple(slice(max(-b, 0), n - max(-a, 0)) for (b, a), n in zip(width, x.shape, strict=True))]
    grown = [(max(b, 0), max(a, 0)) for b, a in width]
    bounded([n + b + a for n, (b, a) in zip(cut.shape, grown, strict=True)])
    mode = call.get("mode", "constant")
    if mode != "constant":
        return np.pad(cut, grown, mode=_PAD_MODES[mode])  # type: ignore[call-overload,no-any-return]
    fill = call.get("value", 0.0) if value is None else value.reshape(()).item()
    return np.pad(cut, grown, constant_values=fill)


def shape(call: Any, x: Array) -> Array:
    """The dims, or some of them (opset 15)."""
    return np.array(x.shape[call.get("start", 0) : call.get("end")], np.int64)


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


def _blocks(x: Array, size: int) -> tuple[int, ...]:
    return x.shape[0], x.shape[1], x.shape[2], x.shape[3], size


def space_to_depth(call: Any, x: Array) -> Array:
    """Blocks of pixels become channels; DCR has the block position first, CRD the channel."""
    n, c, h, w, b = _blocks(x, call.get("blocksize"))
    order = (0, 3, 5, 1, 2, 4) if call.get("mode", "DCR") == "DCR" else (0, 1, 3, 5, 2, 4)
    parts = x.reshape(n, c, h // b, b, w // b, b).transpose(order)
    return np.ascontiguousarray(parts).reshape(n, c * b * b, h // b, w // b)


def depth_to_space(call: Any, x: Array) -> Array:
    """The way back; DCR has the block position first, CRD the channel."""
    n, c, h, w, b = _blocks(x, call.get("blocksize"))
    if call.get("mode", "DCR") == "DCR":
        parts = x.reshape(n, b, b, c // (b * b), h, w).transpose(0, 3, 4, 1, 5, 2)
    else:
        parts = x.reshape(n, c // (b * b), b, b, h, w).transpose(0, 1, 4, 2, 5, 3)
    return np.ascontiguousarray(parts).reshape(n, c // (b * b), h * b, w * b)


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
