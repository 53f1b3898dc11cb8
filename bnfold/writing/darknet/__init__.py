"""A folded network as cfg and weights: the user's own files without the batch norms.

text      the lines `batch_normalize=1` go; sections stay where they are, as routes and shortcuts count
          them
weights   biases and kernels with the batch norm in them, its scales, means and variances gone; the header
          and all other arrays are copied
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from operator import itemgetter

import numpy as np

from ...ir.graph import ir
from ...ir.tensor import Deferred, FileMap, Recipe, Window
from ...results.pair import DarknetPair, DarknetSection
from ..layout import Piece

EMPTY = struct.pack("<iiiQ", 0, 2, 0, 0)  # the weights of a network that needs none: a header
Stretch = tuple[int, int, list[Piece]]  # (offset, bytes, what stands there now)


def files(model: ir.Model, pair: DarknetPair) -> tuple[bytes, list[Piece]]:
    """(the cfg, the weights in pieces) of a folded model."""
    nodes = {node.name or "": node for node in model.graph}
    gone = [unit for unit in pair.units if unit.leaves and not any(leaf in nodes for leaf in unit.leaves)]
    view = FileMap(pair.weights).view if pair.weights is not None else memoryview(EMPTY)
    return _text(pair, gone), list(_pieces(view, _stretches(nodes, pair, gone)))


def _text(pair: DarknetPair, gone: list[DarknetSection]) -> bytes:
    lines = pair.text.split(b"\n")
    out = {line for unit in gone for line in unit.lines}
    return b"\n".join(line for number, line in enumerate(lines) if number not in out)


def _stretches(nodes: dict[str, ir.Node], pair: DarknetPair, gone: list[DarknetSection]) -> list[Stretch]:
    """What changes, in file order; an array that several sections or steps use is met more than once."""
    found: dict[int, Stretch] = {}
    for unit in pair.units:
        for (name, index), key in unit.arrays.items():
            tensor = _constant(nodes.get(name), index)
            offset, floats, columns = key
            assert isinstance(offset, int) and isinstance(floats, int) and isinstance(columns, int)
            if tensor is None or isinstance(tensor, Window) or (columns and unit not in gone):
                continue  # as it was
            found[offset] = offset, 4 * floats, [_piece(tensor, columns)]
    for unit in gone:
        found |= {offset: (offset, size, []) for offset, size in unit.norms}
    return sorted(found.values(), key=itemgetter(0))


def _constant(node: ir.Node | None, index: int) -> ir.TensorProtocol | None:
    value = node.inputs[index] if node is not None and index < len(node.inputs) else None
    return value.const_value if value is not None else None


def _piece(tensor: ir.TensorProtocol, columns: int) -> Piece:
    if not columns:
        return tensor if isinstance(tensor, Deferred) else tensor.tobytes()

    def turned() -> Iterator[np.ndarray]:
        yield np.ascontiguousarray(tensor.numpy().reshape(columns, -1).T)

    return Recipe(tensor.dtype, tuple(tensor.shape.numpy()), turned)


def _pieces(view: memoryview, stretches: list[Stretch]) -> Iterator[Piece]:
    at = 0
    for offset, size, pieces in stretches:
        if offset > at:
            yield Window(view, at, ir.DataType.UINT8, (offset - at,))
        yield from pieces
        at = offset + size
    if at < len(view):
        yield Window(view, at, ir.DataType.UINT8, (len(view) - at,))
