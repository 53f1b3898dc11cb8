"""Scale and Bias: a coefficient on the axes from `axis` on, learned or a second bottom. Axes meet by
position, not from the right."""

from __future__ import annotations

from ..blob import Shape, shown
from ..layer import Layer, Value, dims
from ..registry import layer
from ..schema import Node


def _addressed(at: Layer, x: Value, axis: int, num_axes: int, param: str) -> tuple[Shape, Shape]:
    """(shape of the learned coefficient, shape under which it meets the bottom): axes from `axis` on, by
    position."""
    shape = dims(x)
    first = at.axis(axis, len(shape), (param, "axis")) if num_axes else 0
    if num_axes < -1 or (num_axes > 0 and first + num_axes > len(shape)):
        raise at.malformed(
            f"{num_axes} axes from axis {first} on, of a bottom of shape {shown(shape)}",
            "axes that it has, or -1 for all",
            at=(param, "num_axes"),
        )
    last = len(shape) if num_axes == -1 else first + num_axes
    coefficient = shape[first:last]
    return coefficient, (*coefficient, *(1,) * (len(shape) - last)) if num_axes else ()


def _second(at: Layer, x: Value, other: Value, axis: int, param: str) -> tuple[Value, Shape, Shape]:
    """A second bottom as a coefficient: (it, under a shape that meets the first; its own shape; that
    shape)."""
    shape, own = dims(x), dims(other)
    first = at.axis(axis, len(shape), (param, "axis")) if own else 0
    if shape[first : first + len(own)] != own:
        raise at.malformed(
            f"a second bottom of shape {shown(own)} on axis {first} of {shown(shape)}",
            "the dimensions from that axis on",
        )
    view = (*own, *(1,) * (len(shape) - first - len(own))) if own else ()
    return at.reshape(other, view), own, view


@layer("Scale", param="scale_param", inplace=True)
def scale(
    at: Layer,
    x: Value,
    by: Value | None = None,
    *,
    axis: int = 1,
    num_axes: int = 1,
    filler: Node | None = None,
    bias_term: bool = False,
    bias_filler: Node | None = None,
) -> Value:
    """Multiplication by a coefficient along some axes, then on demand a bias; the coefficient is learned or
    the second bottom."""
    if by is None:
        shape, view = _addressed(at, x, axis, num_axes, "scale_param")
        coefficient = at.blob(0, "scale", shape, filler=filler, default=1.0, view=view)
    else:
        coefficient, shape, view = _second(at, x, by, axis, "scale_param")
    y = at.op("Mul", x, coefficient)
    if not bias_term:
        return y
    return at.op(
        "Add", y, at.blob(1 if by is None else 0, "bias", shape, filler=bias_filler, default=0.0, view=view)
    )


@layer("Bias", param="bias_param", inplace=True)
def bias(
    at: Layer,
    x: Value,
    by: Value | None = None,
    *,
    axis: int = 1,
    num_axes: int = 1,
    filler: Node | None = None,
) -> Value:
    """Addition of a bias along some axes; learned or the second bottom."""
    if by is not None:
        return at.op("Add", x, _second(at, x, by, axis, "bias_param")[0])
    shape, view = _addressed(at, x, axis, num_axes, "bias_param")
    return at.op("Add", x, at.blob(0, "bias", shape, filler=filler, default=0.0, view=view))
