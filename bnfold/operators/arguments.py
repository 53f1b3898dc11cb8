"""The one decoder of what nodes say about shapes: axes, windows, sizes, slices, pads.

Shape rules, float64 kernels and rules of folding all decode with these functions, so that none of them has
an idea of its own. They take plain values: numbers that stand in an attribute or in a constant, sizes, and
`get`, which reads an attribute. What is then done with values (the arithmetic) stays with each of them.

    Dim         a size: a number, or a symbol (a text) for one unknown size
    None        in the place of a size: it is not known, or runtimes disagree about it
    ValueError  the arguments contradict each other or their input

Formulas are those of the ONNX operator documents. Where onnxruntime does something else, the comment says so.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np

from ..records import dataclass
from .table import OPERATORS

Dim = int | str
Shape = tuple[Dim, ...]
Sizes = tuple[Dim | None, ...]

_FAR_PADDING = 1 << 12  # beyond it nobody looks at every window that begins in the padding
_FAR, _FARTHEST = (1 << 31) - 1, (1 << 63) - 1  # where exporters let a slice end that goes on to the end
_F = np.float32


class Get(Protocol):
    """Reads an attribute of a node, or gives the default."""

    def __call__(self, name: str, default: Any = None, /) -> Any:  # noqa: D102
        ...


# Axes


def axis_of(axis: int, rank: int) -> int:
    """An axis counted from the front. ValueError where there is no such axis."""
    if not -rank <= axis < rank:
        raise ValueError(f"axis {axis} of {rank}")
    return axis % rank


def axes_of(axes: Sequence[int], rank: int) -> list[int]:
    """Axes counted from the front, in their order. ValueError for one that is not there, or there twice."""
    counted = [axis_of(axis, rank) for axis in axes]
    if len(set(counted)) < len(counted):
        raise ValueError(f"axes {list(axes)} of {rank}: one is there twice")
    return counted


def axis_argument(get: Get, op_type: str, rank: int) -> int:
    """The attribute `axis` of an operator, counted from the front."""
    return axis_of(int(get("axis", OPERATORS[op_type].axis)), rank)


def softmax_axes(get: Get, op_type: str, opset: int, rank: int) -> tuple[int, ...]:
    """The axes that Softmax and its kin sum over: one; before opset 13 all from `axis` (1) on."""
    if opset >= 13:
        return (axis_argument(get, op_type, rank),) if rank else ()
    return tuple(range(axis_of(get("axis", 1), rank) if rank else 0, rank))


def reduced_axes(axes: Sequence[int] | None, rank: int, keep_if_none: bool) -> list[int]:
    """The axes that a reduction reduces: all where it names none, unless noop_with_empty_axes keeps them."""
    if not axes:
        return [] if keep_if_none else list(range(rank))
    return sorted(axes_of(axes, rank))


def squeezed_axes(axes: Sequence[int] | None, shape: Shape) -> list[int] | None:
    """The axes that Squeeze drops: those of size one where it names none, None where it is not known which
    these are. ValueError for an axis of another size."""
    if not axes:
        if any(not isinstance(d, int) for d in shape):
            return None
        return [axis for axis, d in enumerate(shape) if d == 1]
    dropped = sorted(axes_of(axes, len(shape)))
    for axis in dropped:
        same_size(1, shape[axis])
    return dropped


def unsqueezed(axes: Sequence[int], shape: Shape) -> Shape:
    """A shape with ones where Unsqueeze names them; its axes count in the result."""
    rank = len(shape) + len(axes)
    ones, rest = axes_of(axes, rank), iter(shape)
    return tuple(1 if axis in ones else next(rest) for axis in range(rank))


def permutation(perm: Sequence[int] | None, rank: int) -> list[int]:
    """How Transpose orders the axes: reversed where it does not say."""
    order = list(perm or range(rank)[::-1])
    if sorted(order) != list(range(rank)):
        raise ValueError(f"{order} does not permute {rank} axes")
    return order


def first_axis(get: Get, index: int, rank: int, whole: int) -> int:
    """Where the axes of a broadcast operand begin among the output's: they end with them, unless `axis` of
    opsets before 7 says more."""
    axis = get("axis") if index == 1 and get("broadcast", 0) else None
    return whole - rank if axis is None else int(axis) % max(whole, 1)


def shape_part(get: Get, shape: Shape) -> Shape:
    """The dims that Shape gives: all, or those from `start` to `end` (opset 15)."""
    return shape[get("start", 0) : get("end")]


# Sizes


class SizesDiffer(ValueError):
    """Sizes that have to be one and the same are not; `sizes` are they, in the order of the operands."""

    def __init__(self, where: str, sizes: Sequence[int]) -> None:
        self.sizes = tuple(sizes)
        super().__init__(f"sizes {' and '.join(map(str, sizes))} {where}")


def same_size(*sizes: Dim | None) -> None:
    """SizesDiffer where sizes that have to be one and the same are different numbers."""
    if len(numbers := dict.fromkeys(d for d in sizes if isinstance(d, int))) > 1:
        raise SizesDiffer("have to be the same", list(numbers))


def divided(whole: int, parts: int) -> int:
    """SizesDiffer, with the next multiple, where something is left over."""
    if whole % parts:
        following = -(-whole // parts) * parts
        raise SizesDiffer(f"are not the same: {whole} is no multiple of {parts}", (whole, following))
    return whole // parts


def quotient(whole: Shape, parts: Sequence[Dim | None] = ()) -> Dim | None:
    """The size that makes `parts` hold as many elements as `whole`; symbols cancel against equal symbols."""
    over = list(whole)
    for symbol in (d for d in parts if not isinstance(d, int)):
        if symbol not in over:
            return None
        over.remove(symbol)
    symbols = [d for d in over if isinstance(d, str)]
    top = math.prod(d for d in over if isinstance(d, int))
    bottom = math.prod(d for d in parts if isinstance(d, int))
    if not symbols:
        return divided(top, bottom)
    return symbols[0] if len(symbols) == 1 and top == bottom else None


def reshaped(wanted: Sequence[Dim], shape: Shape | None, allow_zero: bool = False) -> Sizes:
    """The shape that Reshape gives: 0 keeps a size (unless allowzero), -1 takes what is left. `shape` is None
    where the input's is not known."""
    sizes: list[Dim | None] = [
        d if d != 0 or allow_zero else None if shape is None else shape[k] for k, d in enumerate(wanted)
    ]
    if any(isinstance(d, int) and d < -1 for d in sizes) or sizes.count(-1) > 1:
        raise ValueError(f"{list(wanted)} is no shape")
    if -1 in sizes:
        at = sizes.index(-1)
        sizes[at] = None if shape is None else quotient(shape, sizes[:at] + sizes[at + 1 :])
    elif shape is not None and all(isinstance(d, int) for d in (*shape, *sizes)):
        same_size(
            math.prod(d for d in shape if isinstance(d, int)),
            math.prod(d for d in sizes if isinstance(d, int)),
        )
    return tuple(sizes)


def flattened(axis: int, shape: Shape) -> tuple[Dim | None, Dim | None]:
    """The two sizes that Flatten gives, of what is before `axis` and of the rest. Behind the last axis is a
    place, too."""
    at = axis if axis == len(shape) else axis_of(axis, len(shape))
    return quotient(shape[:at]), quotient(shape[at:])


def tiled(shape: Shape, repeats: Sequence[int]) -> Sizes:
    """The shape that Tile gives."""
    return tuple(
        d if count == 1 else d * count if isinstance(d, int) else None
        for d, count in zip(shape, repeats, strict=True)
    )


def repeats_along(axis: int, count: int, rank: int) -> list[int]:
    """The repeats of Tile of opset 1, which repeats along one axis."""
    return [count if k == axis_of(axis, rank) else 1 for k in range(rank)]


def depth_to_space(shape: Shape, block: int) -> Sizes:
    """The shape that DepthToSpace gives."""
    batch, channels, *space = shape
    shallow = divided(channels, block * block) if isinstance(channels, int) else None
    return batch, shallow, *(d * block if isinstance(d, int) else None for d in space)


def space_to_depth(shape: Shape, block: int) -> Sizes:
    """The shape that SpaceToDepth gives."""
    batch, channels, *space = shape
    deep = channels * block * block if isinstance(channels, int) else None
    return batch, deep, *(divided(d, block) if isinstance(d, int) else None for d in space)


def split_sizes(
    sizes: Sequence[int] | None, whole: Dim, outputs: int, num_outputs: int | None = None
) -> list[int] | None:
    """The sizes of a Split's outputs: as given, else equal parts, of which the last may be smaller where
    num_outputs (opset 18) asks for so many."""
    if sizes is not None:
        parts = list(sizes)
    elif not isinstance(whole, int):
        return None
    elif num_outputs is None:
        parts = [divided(whole, outputs)] * outputs
    else:
        part = -(-whole // num_outputs)
        parts = [part] * (num_outputs - 1) + [whole - part * (num_outputs - 1)]
    if len(parts) != outputs or min(parts) < 0 or (isinstance(whole, int) and sum(parts) != whole):
        raise ValueError(f"{outputs} parts of {parts} do not make {whole}")
    return parts


# Slices and pads


@dataclass(frozen=True, slots=True)
class Cut:
    """What a Slice takes of one axis. Its bounds may lie anywhere: they are clamped to a size."""

    start: int = 0
    end: int = _FARTHEST
    step: int = 1

    @property
    def whole(self) -> bool:
        """Does it take an axis of any size as it is?"""
        return self.step == 1 and (self.start == 0 or self.start < -_FAR) and self.end >= _FAR

    def positions(self, size: int) -> range:
        """The entries that it takes of an axis of this size."""
        start, end = (n + size if n < 0 else n for n in (self.start, self.end))
        if self.step > 0:
            return range(min(max(start, 0), size), min(max(end, 0), size), self.step)
        return range(min(max(start, 0), size - 1), min(max(end, -1), size - 1), self.step)

    def index(self, size: int) -> slice:
        """The same as a slice of Python."""
        taken = self.positions(size)
        return slice(taken.start, None if taken.stop < 0 else taken.stop, taken.step) if taken else slice(0)

    @property
    def disputed(self) -> bool:
        """Backwards to the largest number: nothing, by the ONNX document; onnxruntime goes to the first."""
        return self.step < 0 and self.end in (_FAR, _FARTHEST)

    def of(self, size: Dim) -> Dim | None:
        """The size of what it takes."""
        if self.whole:
            return size
        return len(self.positions(size)) if isinstance(size, int) else None


def cuts(
    starts: Sequence[int],
    ends: Sequence[int],
    axes: Sequence[int] | None,
    steps: Sequence[int] | None,
    rank: int,
) -> list[Cut]:
    """What a Slice takes of every axis."""
    along = axes_of(axes or range(len(starts)), rank)
    taken = [Cut()] * rank
    for axis, start, end, step in zip(along, starts, ends, steps or [1] * len(starts), strict=True):
        if step == 0:
            raise ValueError("a step of 0")
        taken[axis] = Cut(start, end, step)
    return taken


def paddings(pads: Sequence[int], axes: Sequence[int] | None, rank: int) -> list[tuple[int, int]]:
    """(before, after) for every axis of a Pad; negative ones cut."""
    along = axes_of(range(rank) if axes is None else axes, rank)
    if len(pads) != 2 * len(along):
        raise ValueError(f"{len(pads)} pads for {len(along)} axes")
    placed = [(0, 0)] * rank
    for k, axis in enumerate(along):
        placed[axis] = (int(pads[k]), int(pads[k + len(along)]))
    return placed


def padded(size: Dim, pads: tuple[int, int]) -> Dim | None:
    """The size of a padded axis. ValueError where more is cut than there is."""
    if not any(pads):
        return size
    if isinstance(size, int) and size + sum(min(p, 0) for p in pads) < 0:
        raise ValueError(f"pads {pads} cut more than {size}")
    return size + sum(pads) if isinstance(size, int) else None


# Windows


@dataclass(frozen=True, slots=True)
class Window:
    """The window of a convolution or pool along one axis. `pads` are those that are written down; what
    auto_pad adds depends on the size."""

    kernel: int
    stride: int
    dilation: int
    pads: tuple[int, int]
    auto_pad: str
    ceil: bool

    @property
    def same(self) -> bool:
        """Is the padding that which makes as many windows as strides fit the input?"""
        return self.auto_pad in ("SAME_UPPER", "SAME_LOWER")

    @property
    def reach(self) -> int:
        """How many positions it spans."""
        return self.dilation * (self.kernel - 1) + 1

    @property
    def keeps_size(self) -> bool:
        """Does an axis of any size keep its size?"""
        return self.stride == 1 and (self.same or sum(self.pads) == self.reach - 1)

    @property
    def may_pad(self) -> bool:
        """May it read padding? Padding hidden in auto_pad counts; a kernel of one never reaches it."""
        return self.kernel > 1 if self.same else any(self.pads)

    def always_meets(self, size: Dim | None) -> bool:
        """Does every window hold a value of the input, wherever it lies on an axis of this size? One that
        lies in the padding alone has no maximum and no mean: runtimes put in what they like."""
        if isinstance(size, int):
            before, after = self.padding(size)
        else:
            before, after = (0, 0) if self.same else self.pads
        inner = self.reach - 1
        if size == 0 or before > inner or after > inner:
            return False
        if self.dilation == 1 or (not self.same and before == 0):
            return True
        if not isinstance(size, int) or before > _FAR_PADDING:
            return False
        # A window that begins `at` before the input next touches it at the rest of `at` by the dilation.
        return size >= self.dilation or all(
            at % self.dilation < size for at in range(-before, 0, self.stride)
        )

    def padding(self, size: int) -> tuple[int, int]:
        """(before, after) of an axis of this size."""
        if not self.same:
            return self.pads
        total = max((-(-size // self.stride) - 1) * self.stride + self.reach - size, 0)
        return _halves(total, self.auto_pad == "SAME_UPPER")

    def count(self, size: int) -> int:
        """How many windows there are on an axis of this size. ValueError where there are less than none."""
        if self.same:
            return -(-size // self.stride)
        room = size + sum(self.pads) - self.reach
        count = (-(-room // self.stride) if self.ceil else room // self.stride) + 1
        if self.ceil and (count - 1) * self.stride >= size + self.pads[0]:
            count -= 1  # a window that begins in the padding behind the input is not one
        if count < 0:
            raise ValueError(
                f"a window of {self.reach} does not fit an input of {size} padded by {self.pads}"
            )
        return count

    def output(self, size: Dim) -> Dim | None:
        """The same for a size that may not be known, where all runtimes agree: onnxruntime's pools make one
        window of one that does not fit, and pad by the kernel without its dilation."""
        dilated = self.same and self.dilation > 1 and self.kernel > 1
        if self.keeps_size and not dilated:
            return size
        if not isinstance(size, int):
            return None
        fits = self.same or size + sum(self.pads) >= self.reach
        return self.count(size) if fits and not dilated else None


@dataclass(frozen=True, slots=True)
class TransposedWindow:
    """The window that a ConvTranspose spreads every value over, along one axis. `output_shape` is the size
    that is asked for, if one is."""

    kernel: int
    stride: int
    dilation: int
    pads: tuple[int, int]
    auto_pad: str
    output_padding: int
    output_shape: int | None

    @property
    def same(self) -> bool:
        """Is the padding that which makes the output as many times as large as the stride is?"""
        return self.auto_pad in ("SAME_UPPER", "SAME_LOWER")

    def full(self, size: int) -> int:
        """The size of the output without its pads."""
        return self.stride * (size - 1) + self.output_padding + self.dilation * (self.kernel - 1) + 1

    def place(self, size: int) -> tuple[int, int]:
        """(how many positions are cut off before it, size of the output), as onnxruntime has it."""
        full = self.full(size)
        if self.output_shape is None and not self.same:
            return self.pads[0], full - sum(self.pads)
        # The ONNX document says size·stride for SAME; onnxruntime gives less where the kernels leave gaps.
        out = min(size * self.stride, full) if self.output_shape is None else self.output_shape
        return _halves(max(full - out, 0), self.auto_pad == "SAME_UPPER")[0], out

    def output(self, size: Dim) -> int | None:
        """The size of the output, where all runtimes agree."""
        if self.output_shape is not None:
            return self.output_shape
        if not isinstance(size, int):
            return None
        out = self.place(size)[1]
        return None if self.same and out != size * self.stride else out


def _halves(total: int, upper: bool) -> tuple[int, int]:
    """Padding on both sides; the odd one goes behind with SAME_UPPER, else before."""
    less, more = total // 2, total - total // 2
    return (less, more) if upper else (more, less)


def _per_axis(get: Get, name: str, default: int, count: int) -> list[int]:
    """An attribute with one number an axis."""
    numbers = list(get(name) or [default] * count)
    if len(numbers) != count:
        raise ValueError(f"{len(numbers)} {name} for {count}")
    return numbers


def _window_arguments(get: Get, rank: int) -> list[tuple[int, int, tuple[int, int], str]]:
    """(stride, dilation, pads, auto_pad) for every axis."""
    auto = str(get("auto_pad", "NOTSET"))
    explicit = auto not in ("SAME_UPPER", "SAME_LOWER", "VALID")
    pads = _per_axis(get, "pads", 0, 2 * rank) if explicit else [0] * 2 * rank
    strides, dilations = (_per_axis(get, name, 1, rank) for name in ("strides", "dilations"))
    return [(strides[k], dilations[k], (pads[k], pads[k + rank]), auto) for k in range(rank)]


def windows(get: Get, kernel: Sequence[int]) -> tuple[Window, ...]:
    """The windows of a Conv or pool, one an axis of its kernel."""
    ceil = bool(get("ceil_mode", 0))
    return tuple(
        Window(size, *arguments, ceil)
        for size, arguments in zip(kernel, _window_arguments(get, len(kernel)), strict=True)
    )


def transposed_windows(get: Get, kernel: Sequence[int]) -> tuple[TransposedWindow, ...]:
    """The windows of a ConvTranspose, one an axis of its kernel."""
    rank = len(kernel)
    extra, wanted = _per_axis(get, "output_padding", 0, rank), list(get("output_shape") or [])[-rank:]
    return tuple(
        TransposedWindow(kernel[k], *arguments, extra[k], int(wanted[k]) if wanted else None)
        for k, arguments in enumerate(_window_arguments(get, rank))
    )


# Resize


@dataclass(frozen=True, slots=True)
class Resized:
    """What a Resize does to the axes that it names: sizes of its output, and scales, None where not known.
    `disputed`: runtimes disagree about the sizes."""

    axes: list[int]
    sizes: Sizes
    scales: tuple[float | None, ...]
    disputed: bool = False


def resize_inputs(op_type: str, opset: int) -> tuple[int | None, int, int | None]:
    """Where roi, scales and sizes are among the inputs of a Resize or Upsample; None: it has none."""
    return (None, 1, None) if op_type == "Upsample" or opset < 11 else (1, 2, 3)


def upsample_scales(get: Get, scales: Sequence[float] | None) -> list[float] | None:
    """The scales of an Upsample: an input since opset 9, an attribute in 7, two attributes in 1."""
    if scales is not None:
        return list(scales)
    if (height := get("height_scale")) is not None:
        return [1.0, 1.0, height, get("width_scale")]
    given = get("scales")
    return None if given is None else list(given)


def resized(get: Get, shape: Shape, scales: Sequence[float] | None, sizes: Sequence[int] | None) -> Resized:
    """What a Resize or Upsample does to an input of this shape, by scales or by sizes."""
    if (scales is None) == (sizes is None):
        raise ValueError("either scales or sizes")
    axes = axes_of(get("axes") or range(len(shape)), len(shape))
    old = [shape[axis] for axis in axes]
    if sizes is not None:
        backwards = any(axis < 0 for axis in get("axes") or ())
        return _fitted(axes, old, sizes, get("keep_aspect_ratio_policy", "stretch"), backwards)
    factors = tuple(float(factor) for factor in scales or ())
    new = tuple(_scaled(size, factor) for size, factor in zip(old, factors, strict=True))
    # The ONNX document makes the size that of the cropped region; onnxruntime takes the whole input's.
    crops = get("coordinate_transformation_mode") == "tf_crop_and_resize"
    return Resized(axes, new, factors, crops)


def _scaled(size: Dim, factor: float) -> Dim | None:
    """The size times the scale, rounded down. The product is one of float32, as the scales are: 10 times 0.7
    is 7, while the exact product lies below."""
    if factor == 1:
        return size
    if not isinstance(size, int):
        return None
    with np.errstate(
        over="ignore", invalid="ignore"
    ):  # what is not finite is no size: OverflowError, ValueError
        return math.floor(_F(size) * _F(factor))


def _fitted(axes: list[int], old: list[Dim], sizes: Sequence[int], policy: str, backwards: bool) -> Resized:
    """By sizes: as they are, or by the one scale that makes nothing larger (smaller) than they are."""
    ratios = [
        _F(new) / _F(size) if isinstance(size, int) else None for new, size in zip(sizes, old, strict=True)
    ]
    if policy == "stretch":
        return Resized(
            axes, tuple(int(n) for n in sizes), tuple(None if r is None else float(r) for r in ratios)
        )
    known = [ratio for ratio in ratios if ratio is not None]
    if len(known) < len(ratios):
        return Resized(axes, (None,) * len(axes), (None,) * len(axes))
    ratio = min(known) if policy == "not_larger" else max(known)
    new = tuple(math.floor(ratio * _F(size) + _F(0.5)) for size in old)
    # onnxruntime leaves the input as it is where a policy meets axes that are counted from the back.
    return Resized(axes, new, (float(ratio),) * len(axes), disputed=backwards)
