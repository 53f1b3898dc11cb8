"""Reading for a result as cfg and weights: where a section says that it has a batch norm, and where its
arrays lie in the weights file (results/pair.py).

A section keeps its place and its number, so a batch norm can go where it is a part of one, and a [batchnorm]
of its own cannot.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace
from pathlib import Path

from ...ir.graph import ir, is_op, source_text
from ...ir.provenance import parse
from ...ir.tensor import Window
from ...results.options import ReadOptions
from ...results.pair import ArrayKey, DarknetPair, DarknetSection, NodeInput
from ...results.plan import Loaded
from .cfg import Section, entries
from .network import Network
from .reader import walked
from .schema import SECTIONS
from .weights import Arrays, Taken

SAYS_SO = ("batch_normalize", "cbn")  # the options that give a section a batch norm
# Sections of one batch norm. The others compute with its statistics where the graph has a constant, too.
OF_ONE_STEP = ("convolutional", "deconvolutional", "connected", "batchnorm")
OF_NORMS = ("scales", "mean", "variance")
LINEAR = ("Conv", "ConvTranspose", "Gemm")


def read_pair(network: Path, weights: Path | None, options: ReadOptions) -> Loaded:
    """The model of a cfg and its weights, with `Loaded.pair`. Errors: those of `read_network`."""
    loaded, net, sections = walked(network, weights, options)
    text = Path(network).read_bytes()
    return replace(loaded, pair=_Places(loaded, net, sections, text).pair(text, weights))


class _Places:
    def __init__(self, loaded: Loaded, net: Network, sections: list[Section], text: bytes) -> None:
        self.sections, self.syntax = sections, net.dialect.syntax
        found = entries(text, net.file, self.syntax)
        self.said = [line for line, entry in found if entry.key in SAYS_SO]
        self.companions = tuple(net.files[1:])
        self.taken: dict[int, list[Taken]] = defaultdict(list)
        for one in net.arrays.taken if isinstance(net.arrays, Arrays) else ():
            self.taken[one.where.index or 0].append(one)
        self.nodes: dict[int, list[ir.Node]] = defaultdict(list)
        for node in loaded.model.graph:
            index = parse(source_text(node)).index
            if index is not None:
                self.nodes[index].append(node)

    def pair(self, text: bytes, weights: Path | None) -> DarknetPair:
        """All sections behind [net]."""
        units = tuple(self._section(index) for index in range(len(self.sections) - 1))
        return DarknetPair(units=units, text=text, weights=weights, companions=self.companions)

    def _section(self, index: int) -> DarknetSection:
        section = self.sections[index + 1]
        lines, norms = self._lines(index), self._norms(index)
        leaves = tuple(node.name or "" for node in self.nodes[index] if is_op(node, "BatchNormalization"))
        whole = bool(lines) and self._covers(index, norms)
        return DarknetSection(
            label=f"[{section.name}] #{index}",
            leaves=leaves if whole else (),
            arrays=self._arrays(index),
            inside=True,  # a convolution adds its biases with and without batch norm
            lines=lines,
            norms=tuple((one.offset, 4 * one.floats) for one in norms),
        )

    def _lines(self, index: int) -> tuple[int, ...]:
        """Where the section says that it has a batch norm, whichever of several lines counts."""
        if not any(self._is_on(index, option) for option in SAYS_SO):
            return ()
        first, *behind = (section.line for section in self.sections[index + 1 : index + 3])
        return tuple(line - 1 for line in self.said if first < line and not (behind and line >= behind[0]))

    def _norms(self, index: int) -> list[Taken]:
        return [one for one in self.taken[index] if one.what.rpartition("/")[2] in OF_NORMS]

    def _covers(self, index: int, norms: list[Taken]) -> bool:
        """Is every batch norm that the section has arrays of among the nodes of the graph? What no output
        needs is not."""
        read = {
            value.name
            for node in self.nodes[index]
            if is_op(node, "BatchNormalization")
            for value in node.inputs[1:5]
            if value is not None
        }
        return all(self._name(index, one.what) in read for one in norms)

    def _name(self, index: int, what: str) -> str:
        own = (node.name or "" for node in self.nodes[index])
        first = next((name for name in own if name.startswith(f"{index:03}_")), "")
        return f"{first.partition('/')[0]}/{what}"

    def _arrays(self, index: int) -> dict[NodeInput, ArrayKey]:
        """The weights of linear operators, and their biases: those that they have, or those of the batch norm
        behind them; the statistics of batch norms."""
        found: dict[NodeInput, ArrayKey] = {}
        row = SECTIONS.get(self.sections[index + 1].name)
        for node in self.nodes[index]:
            if row is not None and row.name in OF_ONE_STEP:
                found |= _statistics(node)
            if not is_op(node, *LINEAR):
                continue
            kernel, biases = self._kernel(index, node), _biases(node)
            if kernel is not None and biases is not None:
                found[node.name or "", 1] = kernel
                found[node.name or "", 2] = biases
        return found

    def _kernel(self, index: int, node: ir.Node) -> ArrayKey | None:
        """Where the weights of a node lie. `flipped` ones are stored by columns; those that are made binary
        are not what the file holds."""
        tensor = node.inputs[1].const_value if node.inputs[1] is not None else None
        if isinstance(tensor, Window):
            return (tensor.offset, tensor.size, 0)
        if tensor is None or self._is_on(index, "xnor") or not self._is_on(index, "flipped"):
            return None
        stored = [one for one in self.taken[index] if one.what == "weights" and one.floats == tensor.size]
        return (
            (stored[0].offset, stored[0].floats, int(tensor.shape.numpy()[0])) if len(stored) == 1 else None
        )

    def _is_on(self, index: int, option: str) -> bool:
        given = self.sections[index + 1].options.get(option)
        return given is not None and given.text is not None and self.syntax.number("int", given.text)[0] != 0


def _statistics(node: ir.Node) -> dict[NodeInput, ArrayKey]:
    """Where mean and variance of a batch norm lie."""
    if not is_op(node, "BatchNormalization"):
        return {}
    tensors = [(index, value.const_value) for index in (3, 4) if (value := node.inputs[index]) is not None]
    return {
        (node.name or "", index): (tensor.offset, tensor.size, 0)
        for index, tensor in tensors
        if isinstance(tensor, Window)
    }


def _biases(node: ir.Node) -> ArrayKey | None:
    """Where the biases of a node lie, or of the batch norm that reads it."""
    value = node.inputs[2] if len(node.inputs) > 2 else None
    if value is None:
        behind = [user for user, _ in node.outputs[0].uses()]
        value = behind[0].inputs[2] if len(behind) == 1 and is_op(behind[0], "BatchNormalization") else None
    tensor = value.const_value if value is not None else None
    return (tensor.offset, tensor.size, 0) if isinstance(tensor, Window) else None
