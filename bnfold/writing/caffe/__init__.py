"""A folded network as prototxt and caffemodel: the user's own files with what folding changed.

text      layers that vanished are taken out, names of blobs follow (rewiring.py), `bias_term: false`
          gives way where there is a bias now, a parameter that two layers no longer share gets a name of
          its own
weights   blobs that changed, in the shape and order that the file has; all other bytes are copied
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from ...ir.difference import same_bytes
from ...ir.graph import ir
from ...ir.tensor import FileMap, from_array
from ...results.pair import CaffeLayer, CaffePair, StoredLayer, Word
from ..layout import Piece
from . import caffemodel
from .caffemodel import Change, Shape
from .rewiring import renamed, unused
from .text import Edit, edited, removed, string

Blobs = dict[int, dict[int, tuple[Shape, ir.TensorProtocol]]]  # unit -> blob -> its shape and new values


def files(model: ir.Model, pair: CaffePair) -> tuple[bytes, list[Piece]]:
    """(the prototxt, the caffemodel in pieces) of a folded model."""
    return _Edit(model, pair).run()


class _Edit:
    def __init__(self, model: ir.Model, pair: CaffePair) -> None:
        self.pair, self.units = pair, pair.units
        self.nodes = {node.name or "": node for node in model.graph}
        self.gone = self._gone()
        self.blobs = self._blobs()
        self.edits: list[Edit] = []
        self.changes: dict[int, Change] = {}

    def run(self) -> tuple[bytes, list[Piece]]:
        """All edits of the text, and the weights file in pieces."""
        self._take_out()
        self._rename()
        self._bias()
        self._untie()
        text = edited(self.pair.text, self.edits)
        return self.pair.prefix + text.encode("utf-8", "surrogateescape"), list(self._weights())

    def _gone(self) -> set[int]:
        gone = {
            number
            for number, unit in enumerate(self.units)
            if unit.leaves and not any(node in self.nodes for node in unit.leaves)
        }
        return gone | {number for number, unit in enumerate(self.units) if unit.twin in gone}

    def _blobs(self) -> Blobs:
        """The blobs whose values changed."""
        found: Blobs = {}
        for number, unit in enumerate(self.units):
            for (name, index), (_, blob) in unit.arrays.items():
                tensor = self._constant(name, index)
                assert isinstance(blob, int)
                place = unit.blobs.get(blob)
                if tensor is None or (place is not None and self._value(name, index) == place.value):
                    continue
                shape = place.shape if place is not None else tuple(tensor.shape.numpy())
                found.setdefault(number, {})[blob] = shape, tensor
            if unit.divisor is not None and number in found:  # statistics are written as they are
                found[number][unit.divisor] = (1,), from_array(np.ones(1, np.float32))
        return found

    def _value(self, name: str, index: int) -> str:
        node = self.nodes.get(name)
        value = node.inputs[index] if node is not None and index < len(node.inputs) else None
        return (value.name or "") if value is not None else ""

    def _constant(self, name: str, index: int) -> ir.TensorProtocol | None:
        node = self.nodes.get(name)
        value = node.inputs[index] if node is not None and index < len(node.inputs) else None
        return value.const_value if value is not None else None

    # ---- the text

    def _take_out(self) -> None:
        for number in self.gone:
            unit = self.units[number]
            self.edits.append(removed(self.pair.text, unit.start, unit.end))
            if unit.stored is not None:
                self._change(unit).gone = True

    def _rename(self) -> None:
        values = {
            (name, index): value.name or ""
            for name, node in self.nodes.items()
            for index, value in enumerate(node.outputs)
        }
        for number, word, name in renamed(self.units, self.gone, values):
            self.edits.append(string(self.pair.text, word, name))
            if self.units[number].stored is not None:
                self._change(self.units[number]).names[word.text] = name

    def _bias(self) -> None:
        """`bias_term: false` where there is a bias now."""
        for number, blobs in self.blobs.items():
            bias = self.units[number].bias
            if bias is not None and 1 in blobs:
                self.edits.append(Edit(bias.start, bias.end, "true"))
                if self.units[number].stored is not None:
                    self._change(self.units[number]).biased = True

    def _untie(self) -> None:
        """Names of their own for blobs that are no longer what others call by the same name."""
        shared: dict[str, list[tuple[int, int, Word]]] = {}
        for number, unit in enumerate(self.units):
            for blob, word in enumerate(unit.params):
                if word is not None and number not in self.gone:
                    shared.setdefault(word.text, []).append((number, blob, word))
        taken = set(shared)
        for name, users in shared.items():
            for kind in self._kinds(users)[1:]:
                first = self.units[kind[0][0]]
                own = unused(f"{name}/{first.name}", taken)
                self.edits += [string(self.pair.text, word, own) for _, _, word in kind]

    def _kinds(self, users: list[tuple[int, int, Word]]) -> list[list[tuple[int, int, Word]]]:
        """The users of a shared parameter, those together that have the same values still; those that did not
        change come first."""
        unchanged = [user for user in users if user[1] not in self.blobs.get(user[0], {})]
        kinds: list[list[tuple[int, int, Word]]] = [unchanged] if unchanged else []
        for user in users:
            if user in unchanged:
                continue
            tensor = self.blobs[user[0]][user[1]][1]
            like = (
                k for k in kinds if k is not unchanged and same_bytes(self.blobs[k[0][0]][k[0][1]][1], tensor)
            )
            if (kind := next(like, None)) is not None:
                kind.append(user)
            else:
                kinds.append([user])
        return kinds

    # ---- the weights

    def _change(self, unit: CaffeLayer) -> Change:
        assert unit.stored is not None
        return self.changes.setdefault(unit.stored, Change())

    def _weights(self) -> Iterator[Piece]:
        added = []
        for number, blobs in self.blobs.items():
            unit = self.units[number]
            if unit.stored is not None:
                self._change(unit).blobs.update(blobs)
            else:
                added.append(self._whole(unit, blobs))
        if self.pair.rest is None and self.pair.weights is not None:
            yield from caffemodel.pieces(FileMap(self.pair.weights).view, self.changes, added)
            return
        rest = [
            caffemodel.changed(layer, self.changes.get(number, Change()))
            for number, layer in enumerate(self.pair.rest or ())
            if not self.changes.get(number, Change()).gone
        ]
        yield from caffemodel.made("net", [*rest, *added])

    def _whole(self, unit: CaffeLayer, blobs: dict[int, tuple[Shape, ir.TensorProtocol]]) -> StoredLayer:
        """A layer that no weights file has, because its fillers gave all of its values."""
        values = dict(blobs)
        for (name, index), (_, blob) in unit.arrays.items():
            tensor = self._constant(name, index)
            if isinstance(blob, int) and blob not in values and tensor is not None:
                values[blob] = unit.blobs[blob].shape, tensor
        return StoredLayer(
            name=unit.name, type=unit.type, blobs=tuple(values[blob] for blob in sorted(values))
        )


__all__ = ["files"]
