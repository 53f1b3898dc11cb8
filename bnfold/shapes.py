"""Static shapes, as far as they can be proved.

A shape is a tuple of dims; a dim is an int, or a symbol: a string that stands for one unknown size. Two equal symbols are provably
the same size. Symbols that nothing relates get names of their own (`?1`, `?2` ...), so that "unknown" never equals "unknown".
None instead of a tuple: not even the rank is known.

Shapes are derived from what an operator does to its inputs (RULES, one row an operator); what a file declares about an inner value is
believed only where no row knows better, because a fold must not rest on a claim. One pass in graph order, no recursion.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from .constants import Constants
from .graph import attribute, graphs, ir, is_op

Dim = int | str
Shape = tuple[Dim, ...]
_Rule = Callable[["Shapes", ir.Node, list[Shape | None]], Sequence[Shape | None] | None]


class Shapes:
    """Shapes of all values of a model, derived once, on the first question."""

    def __init__(self, model: ir.Model, freeze_initializers: bool = False) -> None:
        self._model = model
        self._known: dict[ir.Value, Shape | None] = {}
        self._symbols = 0
        self._derived = False
        self.constants = Constants(model, freeze_initializers, self._so_far)

    def of(self, value: ir.Value | None) -> Shape | None:
        """The shape of a value, or None where not even its rank is known."""
        if value is None:
            return None
        if not self._derived:
            self._derived = True
            self._derive()
        return self._so_far(value)

    def rank(self, value: ir.Value | None) -> int | None:
        """The rank of a value, or None."""
        shape = self.of(value)
        return None if shape is None else len(shape)

    def dim(self, value: ir.Value | None, axis: int) -> int | None:
        """A dim that is a known number, or None."""
        shape = self.of(value)
        if shape is None or not -len(shape) <= axis < len(shape):
            return None
        found = shape[axis]
        return found if isinstance(found, int) else None

    def dtype(self, value: ir.Value | None) -> ir.DataType | None:
        """The type of a value: declared, or that of the inputs it is computed from."""
        seen: set[ir.Value] = set()
        waiting = [value]
        while waiting and len(seen) < _TYPE_SEARCH:
            current = waiting.pop(0)
            if current is None or current in seen:
                continue
            seen.add(current)
            if (known := _own_dtype(current, self.constants)) is not None:
                return known
            node = current.producer()
            if node is not None and node.domain == "" and node.op_type in TYPE_KEEPING:
                waiting.extend(node.inputs)
            elif node is not None and node.domain == "" and node.op_type in MOVING:
                waiting.append(node.inputs[0])
        return None

    def put(self, value: ir.Value, shape: Shape | None) -> None:
        """A value that was made while folding."""
        self._known[value] = shape

    def symbol(self) -> str:
        """A size that equals no other."""
        self._symbols += 1
        return f"?{self._symbols}"

    def _so_far(self, value: ir.Value) -> Shape | None:
        if value not in self._known:
            self._known[value] = self._declared(value)
        return self._known[value]

    def _declared(self, value: ir.Value) -> Shape | None:
        stored = self.constants.stored(value) if value.is_initializer() else None
        if stored is not None:
            return tuple(int(d) for d in stored.shape.numpy())
        if value.shape is None:
            return None
        return tuple(d if isinstance(d, int) else str(d.value) if d.value is not None else self.symbol() for d in value.shape)

    def _derive(self) -> None:
        for graph in graphs(self._model):
            for node in graph:
                self._visit(node)

    def _visit(self, node: ir.Node) -> None:
        rule = RULES.get(node.op_type) if node.domain == "" and not any(a.is_ref() for a in node.attributes.values()) else None
        inputs = [None if v is None else self._so_far(v) for v in node.inputs]
        try:
            found = rule(self, node, inputs) if rule is not None else None
        except (IndexError, KeyError, TypeError, ValueError, ZeroDivisionError):  # a malformed node has no shape; its own check names it
            found = None
        for value, shape in zip(node.outputs, found or (), strict=False):
            if shape is not None:
                self._known[value] = shape


_TYPE_SEARCH = 200  # values looked at to find a type


def _own_dtype(value: ir.Value, constants: Constants) -> ir.DataType | None:
    if value.dtype is not None:
        return value.dtype
    stored = constants.stored(value)
    if stored is not None:
        return stored.dtype
    node = value.producer()
    if node is not None and node.op_type == "Cast" and not (to := node.attributes["to"]).is_ref():
        return ir.DataType(to.value)
    if node is not None and node.op_type == "CastLike" and node.inputs[1] is not None:
        return node.inputs[1].dtype
    return None


def same(s: Shapes, node: ir.Node, inputs: list[Shape | None]) -> list[Shape | None]:
    """As the first input."""
    return [inputs[0]]


def broadcast(s: Shapes, node: ir.Node, inputs: list[Shape | None]) -> list[Shape | None]:
    """numpy's rule, right-aligned. A symbol against a number other than one is that number, or the model is wrong."""
    if any(i is None for i in inputs):
        return [None]
    shapes = [i for i in inputs if i is not None]
    rank = max(len(i) for i in shapes)
    padded = [(1,) * (rank - len(i)) + i for i in shapes]
    return [tuple(_joined(s, column) for column in zip(*padded, strict=True))]


def _joined(s: Shapes, column: Sequence[Dim]) -> Dim:
    wide = {d for d in column if d != 1}
    numbers = [d for d in wide if isinstance(d, int)]
    if numbers:
        return numbers[0]
    return wide.pop() if len(wide) == 1 else s.symbol() if wide else 1


def spatial_out(size: Dim, kernel: int, stride: int, dilation: int, before: int, after: int, ceil: bool) -> int | None:
    """Output size of a convolution or pooling along one axis, as the ONNX operators define it."""
    if not isinstance(size, int):
        return None
    room = size + before + after - (dilation * (kernel - 1) + 1)
    out = (-(-room // stride) if ceil else room // stride) + 1
    if ceil and (out - 1) * stride >= size + before:  # a window that begins in the end padding is not taken
        out -= 1
    return out


def window_of(node: ir.Node, rank: int, kernel: Sequence[int]) -> tuple[list[int], list[int], list[int]]:
    """(strides, dilations, pads) of a windowed operator with their defaults; pads are all begins, then all ends."""
    strides = list(attribute(node, "strides") or [1] * rank)
    dilations = list(attribute(node, "dilations") or [1] * rank)
    pads = list(attribute(node, "pads") or [0] * 2 * rank)
    return strides, dilations, pads


def _windowed(s: Shapes, node: ir.Node, x: Shape, channels: Dim, kernel: Sequence[int]) -> Shape:
    rank = len(kernel)
    strides, dilations, pads = window_of(node, rank, kernel)
    auto = attribute(node, "auto_pad", "NOTSET")
    ceil = bool(attribute(node, "ceil_mode", 0))
    out: list[Dim] = []
    for k, size in enumerate(x[2:]):
        if auto.startswith("SAME"):
            found = -(-size // strides[k]) if isinstance(size, int) else None
        else:
            found = spatial_out(size, kernel[k], strides[k], dilations[k], pads[k], pads[k + rank], ceil)
        keeps = strides[k] == 1 and (auto.startswith("SAME") or pads[k] + pads[k + rank] == dilations[k] * (kernel[k] - 1))
        out.append(found if found is not None else size if keeps else s.symbol())
    return (x[0], channels, *out)


def _conv(s: Shapes, node: ir.Node, inputs: list[Shape | None]) -> list[Shape | None]:
    x, w = inputs[0], inputs[1]
    if w is None:
        return [None]
    if x is None:
        return [tuple(s.symbol() if k != 1 else w[0] for k in range(len(w)))]
    kernel = [d for d in w[2:] if isinstance(d, int)]
    if len(kernel) != len(w) - 2 or len(x) != len(w):
        return [(x[0], w[0], *(s.symbol() for _ in w[2:]))]
    return [_windowed(s, node, x, w[0], kernel)]


def _conv_transpose(s: Shapes, node: ir.Node, inputs: list[Shape | None]) -> list[Shape | None]:
    x, w = inputs[0], inputs[1]
    if w is None:
        return [None]
    group = attribute(node, "group", 1)
    channels: Dim = w[1] * group if isinstance(w[1], int) else w[1] if group == 1 else s.symbol()
    batch: Dim = x[0] if x is not None else s.symbol()
    return [(batch, channels, *(_grown(s, node, x, w, k) for k in range(len(w) - 2)))]


def _grown(s: Shapes, node: ir.Node, x: Shape | None, w: Shape, k: int) -> Dim:
    rank = len(w) - 2
    size, kernel = (x[k + 2] if x is not None and len(x) == len(w) else s.symbol()), w[k + 2]
    wanted = attribute(node, "output_shape")
    if wanted:
        return int(wanted[k - rank])
    strides, dilations, pads = window_of(node, rank, ())
    if not isinstance(size, int) or not isinstance(kernel, int):
        return s.symbol()
    if attribute(node, "auto_pad", "NOTSET").startswith("SAME"):
        return size * strides[k]
    extra = list(attribute(node, "output_padding") or [0] * rank)
    return strides[k] * (size - 1) + extra[k] + (kernel - 1) * dilations[k] + 1 - pads[k] - pads[k + rank]


def _pool(s: Shapes, node: ir.Node, inputs: list[Shape | None]) -> list[Shape | None]:
    x = inputs[0]
    if x is None:
        return [None]
    shape = _windowed(s, node, x, x[1], list(attribute(node, "kernel_shape")))
    return [shape] * len(node.outputs)


def _global_pool(s: Shapes, node: ir.Node, inputs: list[Shape | None]) -> list[Shape | None]:
    x = inputs[0]
    return [None if x is None else (*x[:2], *(1 for _ in x[2:]))]


def _batch_norm(s: Shapes, node: ir.Node, inputs: list[Shape | None]) -> list[Shape | None]:
    return [inputs[0], *([None] * (len(node.outputs) - 1))]


def _gemm(s: Shapes, node: ir.Node, inputs: list[Shape | None]) -> list[Shape | None]:
    a, b = inputs[0], inputs[1]
    rows: Dim = a[1 if attribute(node, "transA", 0) else 0] if a is not None else s.symbol()
    columns: Dim = b[0 if attribute(node, "transB", 0) else 1] if b is not None else s.symbol()
    return [(rows, columns)]


def _matmul(s: Shapes, node: ir.Node, inputs: list[Shape | None]) -> list[Shape | None]:
    a, b = inputs[0], inputs[1]
    if a is None or b is None:
        return [None]
    if len(a) == 1 or len(b) == 1:
        return [(*a[:-2], *a[-2:-1], *b[-1:]) if len(a) > 1 else (*b[:-2], b[-1])] if len(a) + len(b) > 2 and len(b) > 1 else [a[:-1]]
    batch = broadcast(s, node, [a[:-2], b[:-2]])[0] or ()
    return [(*batch, a[-2], b[-1])]


def _transpose(s: Shapes, node: ir.Node, inputs: list[Shape | None]) -> list[Shape | None]:
    x = inputs[0]
    if x is None:
        return [None]
    return [tuple(x[p] for p in attribute(node, "perm") or range(len(x))[::-1])]


def _reshape(s: Shapes, node: ir.Node, inputs: list[Shape | None]) -> list[Shape | None]:
    x = inputs[0]
    wanted = s.constants.array(node.inputs[1]) if len(node.inputs) > 1 else attribute(node, "shape")
    if wanted is None:
        return [None]
    allow_zero = attribute(node, "allowzero", 0)
    dims: list[Dim] = []
    for k, d in enumerate(int(d) for d in wanted):
        copied = d == 0 and not allow_zero
        dims.append((x[k] if x is not None else s.symbol()) if copied else d)
    if -1 in dims:
        dims[dims.index(-1)] = _inferred(s, x, dims)
    return [tuple(dims)]


def _inferred(s: Shapes, x: Shape | None, dims: list[Dim]) -> Dim:
    """The dim that -1 stands for: the input's product over the rest's, symbols cancelled against equal symbols."""
    if x is None:
        return s.symbol()
    over, under = list(x), [d for d in dims if d != -1]
    for symbol in [d for d in under if isinstance(d, str)]:
        if symbol not in over:
            return s.symbol()
        over.remove(symbol)
        under.remove(symbol)
    symbols = [d for d in over if isinstance(d, str)]
    top, bottom = math.prod(d for d in over if isinstance(d, int)), math.prod(d for d in under if isinstance(d, int))
    if not symbols:
        return top // bottom
    return symbols[0] if len(symbols) == 1 and top == bottom else s.symbol()


def _flatten(s: Shapes, node: ir.Node, inputs: list[Shape | None]) -> list[Shape | None]:
    x = inputs[0]
    if x is None:
        return [(s.symbol(), s.symbol())]
    axis = attribute(node, "axis", 1)
    return [tuple(_inferred(s, part, [-1]) for part in (x[:axis], x[axis:]))]


def axes_of(s: Shapes, node: ir.Node, rank: int) -> list[int] | None:
    """The axes of Squeeze, Unsqueeze or a reduction, from the attribute or the second input, counted from the front."""
    axes = attribute(node, "axes")
    if axes is None and len(node.inputs) > 1 and node.inputs[1] is not None:
        found = s.constants.array(node.inputs[1])
        if found is None:
            return None
        axes = found.reshape(-1).tolist()
    return None if axes is None else sorted(int(a) % rank for a in axes)


def _squeeze(s: Shapes, node: ir.Node, inputs: list[Shape | None]) -> list[Shape | None]:
    x = inputs[0]
    if x is None:
        return [None]
    axes = axes_of(s, node, len(x))
    if axes is None:
        if any(not isinstance(d, int) for d in x) or (len(node.inputs) > 1 and node.inputs[1] is not None):
            return [None]
        axes = [k for k, d in enumerate(x) if d == 1]
    return [tuple(d for k, d in enumerate(x) if k not in axes)]


def _unsqueeze(s: Shapes, node: ir.Node, inputs: list[Shape | None]) -> list[Shape | None]:
    x = inputs[0]
    count = s.dim(node.inputs[1], 0) if len(node.inputs) > 1 else len(attribute(node, "axes"))
    if x is None or count is None:
        return [None]
    axes = axes_of(s, node, len(x) + count)
    if axes is None:
        return [None]
    rest = iter(x)
    return [tuple(1 if k in axes else next(rest) for k in range(len(x) + count))]


def _concat(s: Shapes, node: ir.Node, inputs: list[Shape | None]) -> list[Shape | None]:
    known = [i for i in inputs if i is not None]
    if not known:
        return [None]
    rank = len(known[0])
    axis = attribute(node, "axis", 1) % rank
    parts = [i[axis] if i is not None else None for i in inputs]
    total: Dim = sum(p for p in parts if isinstance(p, int)) if all(isinstance(p, int) for p in parts) else s.symbol()
    return [tuple(total if k == axis else next((i[k] for i in known if isinstance(i[k], int)), known[0][k]) for k in range(rank))]


def _split(s: Shapes, node: ir.Node, inputs: list[Shape | None]) -> list[Shape | None]:
    x = inputs[0]
    if x is None:
        return [None]
    axis = attribute(node, "axis", 0) % len(x)
    sizes = split_sizes(s, node, x[axis])
    return [(*x[:axis], size if size is not None else s.symbol(), *x[axis + 1:]) for size in sizes or [None] * len(node.outputs)]


def split_sizes(s: Shapes, node: ir.Node, whole: Dim) -> list[int] | None:
    """The sizes of a Split's outputs: an attribute, an input, or equal parts of which the last may be smaller."""
    given = attribute(node, "split")
    if given is None and len(node.inputs) > 1 and node.inputs[1] is not None:
        found = s.constants.array(node.inputs[1])
        if found is None:
            return None
        given = found.reshape(-1).tolist()
    if given is not None:
        return [int(g) for g in given]
    if not isinstance(whole, int):
        return None
    count = len(node.outputs)
    part = -(-whole // count)
    return [part] * (count - 1) + [whole - part * (count - 1)]


def _slice(s: Shapes, node: ir.Node, inputs: list[Shape | None]) -> list[Shape | None]:
    x = inputs[0]
    cuts = slices_of(s, node, len(x)) if x is not None else None
    if x is None or cuts is None:
        return [None if x is None else tuple(s.symbol() for _ in x)]
    return [tuple(d if cut == slice(None) else len(range(d)[cut]) if isinstance(d, int) else s.symbol() for d, cut in zip(x, cuts, strict=True))]


def slices_of(s: Shapes, node: ir.Node, rank: int) -> list[slice] | None:
    """One Python slice an axis, or None where starts, ends, axes or steps are not constant."""
    parts: list[list[int] | None] = []
    for k, name in enumerate(("starts", "ends", "axes", "steps"), start=1):
        given = attribute(node, name)
        if given is None and len(node.inputs) > k and node.inputs[k] is not None:
            found = s.constants.array(node.inputs[k])
            if found is None:
                return None
            given = found.reshape(-1).tolist()
        parts.append(None if given is None else [int(g) for g in given])
    starts, ends, axes, steps = parts
    if starts is None or ends is None:
        return None
    cuts = [slice(None)] * rank
    for start, end, axis, step in zip(starts, ends, axes or range(len(starts)), steps or [1] * len(starts), strict=True):
        floor = step < 0 and end < -(1 << 31)
        cuts[axis % rank] = slice(start, None if floor else end, step)
    return cuts


def _gather(s: Shapes, node: ir.Node, inputs: list[Shape | None]) -> list[Shape | None]:
    x, indices = inputs[0], inputs[1]
    if x is None or indices is None:
        return [None]
    axis = attribute(node, "axis", 0) % len(x)
    return [(*x[:axis], *indices, *x[axis + 1:])]


def _pad(s: Shapes, node: ir.Node, inputs: list[Shape | None]) -> list[Shape | None]:
    x = inputs[0]
    if x is None:
        return [None]
    pads = pads_of(s, node, len(x))
    if pads is None:
        return [tuple(s.symbol() for _ in x)]
    return [tuple(d if not any(p) else d + sum(p) if isinstance(d, int) else s.symbol() for d, p in zip(x, pads, strict=True))]


def pads_of(s: Shapes, node: ir.Node, rank: int) -> list[tuple[int, int]] | None:
    """(before, after) for every axis of a Pad, or None where they are not constant."""
    given = attribute(node, "pads") or attribute(node, "paddings")
    if given is None and len(node.inputs) > 1:
        found = s.constants.array(node.inputs[1])
        given = None if found is None else found.reshape(-1).tolist()
    if given is None:
        return None
    axes = list(range(rank))
    if len(node.inputs) > 3 and node.inputs[3] is not None:
        chosen = s.constants.array(node.inputs[3])
        if chosen is None:
            return None
        axes = [int(a) % rank for a in chosen.reshape(-1)]
    pads = [(0, 0)] * rank
    for k, axis in enumerate(axes):
        pads[axis] = (int(given[k]), int(given[k + len(axes)]))
    return pads


def _resize(s: Shapes, node: ir.Node, inputs: list[Shape | None]) -> list[Shape | None]:
    x = inputs[0]
    if x is None:
        return [None]
    where = 1 if is_op(node, "Upsample") or len(node.inputs) == 2 else 2
    scales = attribute(node, "scales")
    if scales is None and len(node.inputs) > where and node.inputs[where] is not None:
        found = s.constants.array(node.inputs[where])
        scales = None if found is None or not found.size else found.reshape(-1).tolist()
    if scales is not None and len(scales) == len(x) and attribute(node, "axes") is None:
        return [tuple(d if f == 1 else math.floor(d * f) if isinstance(d, int) else s.symbol() for d, f in zip(x, scales, strict=True))]
    sizes = s.constants.array(node.inputs[3]) if len(node.inputs) > 3 and node.inputs[3] is not None else None
    if sizes is not None and sizes.size == len(x) and attribute(node, "keep_aspect_ratio_policy", "stretch") == "stretch":
        return [tuple(int(d) for d in sizes)]
    return [tuple(s.symbol() for _ in x)]


def _reduce(s: Shapes, node: ir.Node, inputs: list[Shape | None]) -> list[Shape | None]:
    x = inputs[0]
    if x is None:
        return [None]
    axes = axes_of(s, node, len(x))
    if axes is None and len(node.inputs) > 1 and node.inputs[1] is not None:
        return [None]
    gone = set(range(len(x)) if not axes else axes)
    if attribute(node, "keepdims", 1):
        return [tuple(1 if k in gone else d for k, d in enumerate(x))]
    return [tuple(d for k, d in enumerate(x) if k not in gone)]


def _expand(s: Shapes, node: ir.Node, inputs: list[Shape | None]) -> list[Shape | None]:
    wanted = s.constants.array(node.inputs[1])
    return [None] if wanted is None else broadcast(s, node, [inputs[0], tuple(int(d) for d in wanted)])


def _tile(s: Shapes, node: ir.Node, inputs: list[Shape | None]) -> list[Shape | None]:
    x, repeats = inputs[0], s.constants.array(node.inputs[1])
    if x is None or repeats is None:
        return [None if x is None else tuple(s.symbol() for _ in x)]
    return [tuple(d if r == 1 else d * int(r) if isinstance(d, int) else s.symbol() for d, r in zip(x, repeats, strict=True))]


def _depth_to_space(s: Shapes, node: ir.Node, inputs: list[Shape | None]) -> list[Shape | None]:
    x, block = inputs[0], attribute(node, "blocksize")
    if x is None or not isinstance(x[1], int):
        return [None if x is None else (x[0], *(s.symbol() for _ in x[1:]))]
    if is_op(node, "DepthToSpace"):
        return [(x[0], x[1] // (block * block), *(d * block if isinstance(d, int) else s.symbol() for d in x[2:]))]
    return [(x[0], x[1] * block * block, *(d // block if isinstance(d, int) else s.symbol() for d in x[2:]))]


def _constant(s: Shapes, node: ir.Node, inputs: list[Shape | None]) -> list[Shape | None]:
    found = s.constants.stored(node.outputs[0])
    return [None if found is None else tuple(int(d) for d in found.shape.numpy())]


def _shape_of(s: Shapes, node: ir.Node, inputs: list[Shape | None]) -> list[Shape | None]:
    x = inputs[0]
    return [None if x is None else (len(x[attribute(node, "start", 0):attribute(node, "end")]),)]


def _constant_of_shape(s: Shapes, node: ir.Node, inputs: list[Shape | None]) -> list[Shape | None]:
    wanted = s.constants.array(node.inputs[0])
    return [None if wanted is None else tuple(int(d) for d in wanted)]


def _dequantized(s: Shapes, node: ir.Node, inputs: list[Shape | None]) -> list[Shape | None]:
    return [inputs[0]]


RULES: dict[str, _Rule] = {
    **dict.fromkeys(
        ["Identity", "Dropout", "Cast", "CastLike", "Relu", "LeakyRelu", "PRelu", "Elu", "Selu", "Celu", "Sigmoid", "HardSigmoid", "HardSwish",
         "Tanh", "Softplus", "Softsign", "Mish", "Gelu", "Swish", "Clip", "Neg", "Abs", "Sqrt", "Exp", "Log", "Erf", "Reciprocal", "Floor", "Ceil",
         "Round", "Softmax", "LogSoftmax", "LRN", "InstanceNormalization", "GroupNormalization", "LayerNormalization", "ThresholdedRelu",
         "LpNormalization", "MeanVarianceNormalization", "Sign", "Not", "CumSum", "QuantizeLinear"], same),
    **dict.fromkeys(["Add", "Sub", "Mul", "Div", "Pow", "Where", "Sum", "Max", "Min", "Mean", "Equal", "Greater", "Less", "And", "Or", "Mod"], broadcast),
    **dict.fromkeys(["MaxPool", "AveragePool", "LpPool"], _pool),
    **dict.fromkeys(["GlobalAveragePool", "GlobalMaxPool", "GlobalLpPool"], _global_pool),
    **dict.fromkeys(["ReduceMean", "ReduceSum", "ReduceMax", "ReduceMin", "ReduceProd", "ReduceL2", "ReduceL1", "ReduceSumSquare"], _reduce),
    "BatchNormalization": _batch_norm, "Conv": _conv, "ConvTranspose": _conv_transpose, "Gemm": _gemm, "MatMul": _matmul,
    "Transpose": _transpose, "Reshape": _reshape, "Flatten": _flatten, "Squeeze": _squeeze, "Unsqueeze": _unsqueeze, "Concat": _concat,
    "Split": _split, "Slice": _slice, "Gather": _gather, "Pad": _pad, "Resize": _resize, "Upsample": _resize, "Expand": _expand, "Tile": _tile,
    "DepthToSpace": _depth_to_space, "SpaceToDepth": _depth_to_space, "Constant": _constant, "Shape": _shape_of,
    "ConstantOfShape": _constant_of_shape, "DequantizeLinear": _dequantized,
}

# Operators whose output has the type of their first input; of the rest in RULES, all inputs have the output's type but for OTHER.
MOVING = frozenset({"Reshape", "Expand", "Tile", "Gather", "Slice", "Squeeze", "Unsqueeze", "Split", "Pad", "Resize", "Upsample", "Pow"})
OTHER = frozenset({"Cast", "CastLike", "Shape", "Equal", "Greater", "Less", "And", "Or", "Not", "Where", "ConstantOfShape", "QuantizeLinear",
                   "DequantizeLinear"})
TYPE_KEEPING = (frozenset(RULES) | {"Reciprocal", "Einsum"}) - MOVING - OTHER
