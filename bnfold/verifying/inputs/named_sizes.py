"""Sizes that the constants of two models name: where a table ends, where a Slice cuts, what a size is
compared with or divided by. A fault that begins there shows at larger sizes only.

    dims        of constants that a reader may cut or look up: tables, masks, windows. The dims of weights and
                of operands have to fit whatever stands beside them, so they name nothing
    elements    of small constants of integers, and of attributes that say bounds
    floats      whole ones, where they meet what was computed from sizes alone
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator
from itertools import chain

import numpy as np

from ...ir.graph import STANDARD, graphs, initializers, ir, is_op, nodes, usages
from ...ir.tensor import dims
from ...operators.table import op
from ...records import dataclass

LARGEST_NAME = 4096
_FEW = 16  # elements of a constant that may be bounds
_BOUNDS = frozenset(("starts", "ends", "k", "pads", "paddings", "kernel_shape", "sizes", "local_window_size"))
_FITTED = frozenset(  # operators that stretch their operands and never cut them
    """
    Add And BatchNormalization Div Equal Greater GreaterOrEqual GroupNormalization InstanceNormalization
    LayerNormalization Less LessOrEqual MatMulInteger Max Mean Min Mod Mul Or PRelu Pow QLinearMatMul
    RMSNormalization SkipLayerNormalization Sub Sum Where Xor
    """.split()  # noqa: SIM905  (a table of words reads better than a list of quotes)
)
_WINDOWS = ("Conv", "ConvInteger", "ConvTranspose", "DeformConv", "QLinearConv")
_INTEGERS = (ir.DataType.INT32, ir.DataType.INT64, ir.DataType.UINT32, ir.DataType.UINT64)
_CARRY = ("Cast", "Flatten", "Identity", "Reshape", "Squeeze", "Transpose", "Unsqueeze")
_RECURRENT = ("LSTM", "GRU", "RNN")
_LIST_ATTRIBUTES = ("value_int", "value_ints", "value_float", "value_floats")

_Name = tuple[int, bool]  # a size, and whether it is that of a window
_Named = dict[object, set[_Name]]  # what a constant is, whichever model it stands in -> what it names


@dataclass(frozen=True)
class NamedSizes:
    """Sizes in the order in which they are worth a look. Nothing but windows names some of them: `windows`,
    which no batch has to reach."""

    sizes: tuple[int, ...]
    windows: frozenset[int]


def named_sizes(reference: ir.Model, candidate: ir.Model, above: int) -> NamedSizes:
    """Sizes above one, those first that only one of the models names, and the largest first."""
    ours, theirs = _named(reference, above), _named(candidate, above)
    every = set(chain.from_iterable((*ours.values(), *theirs.values())))
    alone = {size for key in ours.keys() ^ theirs.keys() for size, _ in (ours | theirs)[key]}
    sizes = {size for size, _ in every}
    return NamedSizes(
        (*sorted(alone, reverse=True), *sorted(sizes - alone, reverse=True)),
        frozenset(size for size in sizes if (size, False) not in every),
    )


def _named(model: ir.Model, above: int) -> _Named:
    found: _Named = {}
    sized = _sized(model)
    for value, tensor in _constants(model):
        if names := _between(_of_constant(value, tensor, sized), above):
            found.setdefault(_identity(tensor), set()).update(names)
    for node in nodes(model):
        for name in _BOUNDS & node.attributes.data.keys():
            bounds = _whole_numbers(node, name)
            if names := _between(((n, name == "kernel_shape") for n in bounds), above):
                found.setdefault((node.op_type, name, bounds), set()).update(names)
    return found


def _between(names: Iterable[_Name], above: int) -> set[_Name]:
    return {(abs(size), window) for size, window in names if above < abs(size) <= LARGEST_NAME}


def _constants(model: ir.Model) -> Iterator[tuple[ir.Value, ir.TensorProtocol]]:
    for graph in graphs(model):
        if isinstance(graph, ir.Graph):
            for value in initializers(graph):
                if value.const_value is not None:
                    yield value, value.const_value
        for node in graph:
            if is_op(node, "Constant") and (tensor := _held(node)) is not None:
                yield node.outputs[0], tensor


def _held(node: ir.Node) -> ir.TensorProtocol | None:
    """What a Constant holds, where it is numbers."""
    for name, held in node.attributes.data.items():
        if held.is_ref():
            return None
        if name == "value":
            return held.as_tensor()
        if name in _LIST_ATTRIBUTES:
            kind = np.int64 if "int" in name else np.float32
            return ir.Tensor(np.asarray(held.value, kind))
    return None


def _identity(tensor: ir.TensorProtocol) -> object:
    return tensor.dtype, dims(tensor), zlib.crc32(tensor.tobytes())


def _of_constant(value: ir.Value, tensor: ir.TensorProtocol, sized: set[ir.Value]) -> Iterator[_Name]:
    """What a constant names through its readers."""
    shape = [d for d in tensor.shape if isinstance(d, int)]
    for node, place in usages(value):
        yield from ((size, is_op(node, *_WINDOWS)) for size in _dims(node, place, shape))
        if tensor.size > _FEW or is_op(node, "Reshape") or _is_weight(node):
            continue
        if tensor.dtype in _INTEGERS:
            yield from ((int(n), False) for n in tensor.numpy().reshape(-1))
        elif tensor.dtype.is_floating_point() and not sized.isdisjoint(v for v in node.inputs if v):
            numbers = np.asarray(tensor.numpy(), np.float64).reshape(-1)
            yield from ((int(n), False) for n in numbers if np.isfinite(n) and n == np.floor(n))


def _dims(node: ir.Node, place: int, shape: list[int]) -> list[int]:
    """The dims of a constant that say how far its reader goes."""
    if node.domain not in STANDARD:
        return shape
    if node.op_type in _WINDOWS:
        return shape[2:]
    if node.op_type in _FITTED or _is_weight(node):
        return []
    if node.op_type == "Gather" and place == 0:
        return _rows(node, shape)
    return shape


def _rows(node: ir.Node, shape: list[int]) -> list[int]:
    """The rows that a Gather may look up: none where a caller says which, for then no size does."""
    axis = node.attributes.get("axis")
    if axis is not None and axis.is_ref():
        return shape
    place = 0 if axis is None else axis.as_int()
    given = _origin(node.inputs[1]).is_graph_input() if node.inputs[1] is not None else False
    return shape[place : place + 1 or None] if not given else []


def _origin(value: ir.Value) -> ir.Value:
    """What a value is in another form."""
    while is_op(node := value.producer(), *_CARRY) and node is not None and node.inputs[0] is not None:
        value = node.inputs[0]
    return value


def _is_weight(node: ir.Node) -> bool:
    return op(node).weighted or is_op(node, *_RECURRENT)


def _whole_numbers(node: ir.Node, name: str) -> tuple[int, ...]:
    held = node.attributes[name]
    if held.is_ref() or held.type not in (ir.AttributeType.INT, ir.AttributeType.INTS):
        return ()
    return (held.value,) if held.type == ir.AttributeType.INT else tuple(held.value)


def _sized(model: ir.Model) -> set[ir.Value]:
    """Values that follow from sizes and constants alone."""
    found = set[ir.Value]()
    for node in nodes(model):
        read = [v for v in node.inputs if v is not None and v.name]
        loose = [v for v in read if v.const_value is None and not is_op(v.producer(), "Constant")]
        if is_op(node, "Shape", "Size") or (loose and found.issuperset(loose)):
            found.update(node.outputs)
    return found
