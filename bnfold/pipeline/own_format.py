"""Results in the model's own format: which output asks for one, and whether the written pair holds the graph.

asked(out)           the row of PAIRS that an output's name asks for, or None
check(job, format)   the job's parts go with such an output
read_back(...)       the written pair as a model, which must be the folded one node by node
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import replace
from itertools import zip_longest
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import NotEquivalent, UsageError
from ..results.options import ReadOptions, spelled
from ..results.pair_formats import PairFormat, of_format
from ..results.plan import Loaded

if TYPE_CHECKING:
    import onnx_ir as ir

    from ..ir.difference import SameTensor
    from ..results.pair import ArrayKey, CaffeLayer, NodeInput, Pair
    from ..writing.pair import WrittenPair


_NOT_FOR_DARKNET: dict[str, object] = {"cut_at": ()}  # the arrays behind a cut would have to be known
# Options that say something of an ONNX file, or ask for what no layer can be.
_NOT_FOR_PAIRS: dict[str, object] = {
    "opset": None,
    "random_weights": None,
    "heads": "layer",
    "duplicate_producers": False,
    "simplify_leftovers": False,
    "bake_input": (),
    "input_type": (),
    "input_layout": (),
    "fix_shape": (),
    "dynamic_batch": False,
    "bake_padding": "auto",
}


def check_source(row: PairFormat, format: str, out: Path) -> None:
    """A pair is written of a model that was one. Raises UsageError."""
    if format != row.format:
        raise UsageError(
            f"{out.name} asks for a {row.format} model, and the model that is read is {format}",
            expected="an output that ends in .onnx"
            + (f" or {other.network}" if (other := of_format(format)) is not None else ""),
        )


def check_options(options: Iterable[object], row: PairFormat, out: Path) -> None:
    """Options that a pair has no use for are refused. Raises UsageError."""
    refused = _NOT_FOR_PAIRS | (_NOT_FOR_DARKNET if row.format == "darknet" else {})
    for given in options:
        for name, usual in refused.items():
            if getattr(given, name, usual) != usual:
                raise UsageError(
                    f"{spelled(name)} is for ONNX outputs, and {out.name} is none", way_out="leave it out"
                )


def with_statistics(pair: Pair, model: ir.Model, nodes: Iterable[str], out: Path) -> Pair:
    """The pair, whose writer finds other statistics in these batch norms of the model. Raises UsageError
    where the format has no place for them."""
    from ..ir.difference import same_bytes
    from ..results.pair import CaffePair

    there = {node.name: node for node in model.graph}
    held: dict[ArrayKey, tuple[str, ir.TensorProtocol | None]] = {}
    for name in nodes:
        for index in (3, 4):
            value = there[name].inputs[index]
            tensor = value.const_value if value is not None else None
            key = pair.arrays.get((name, index))
            if key is None:
                raise _no_place(pair, name, "has no place of its own in the weights", out)
            other, known = held.setdefault(key, (name, tensor))
            if not same_bytes(known, tensor):
                raise _no_place(pair, name, f"shares them with '{other}', which has others now", out)
    if not isinstance(pair, CaffePair):
        return pair
    return replace(pair, units=tuple(_changed(unit, held) for unit in pair.units))


def _changed(unit: CaffeLayer, held: Collection[ArrayKey]) -> CaffeLayer:
    """A layer whose changed blobs are no more the values that were read."""
    from ..results.pair import BlobPlace

    blobs = {blob for key in unit.arrays.values() if key in held for blob in key[1:] if isinstance(blob, int)}
    return replace(
        unit, blobs={n: BlobPlace(one.shape, "") if n in blobs else one for n, one in unit.blobs.items()}
    )


def _no_place(pair: Pair, node: str, why: str, out: Path) -> UsageError:
    return UsageError(
        f"{out.name} cannot hold the statistics of '{node}': in {pair.format}'s format it {why}",
        expected="an output that ends in .onnx",
    )


def read_back(written: WrittenPair, loaded: Loaded, folded: ir.Model, options: ReadOptions) -> Loaded:
    """The written pair, read again; its nodes and values are called what they are in the folded model. Raises
    NotEquivalent where it is another graph."""
    from ..ir.difference import same_but_for_rounding

    again = read_pair(written.path, written.weights, loaded.format, loaded.dialect, options)
    stored = loaded.pair.arrays if loaded.pair is not None else ()
    if difference := aligned(folded, again.model, same_but_for_rounding, stored):
        raise NotEquivalent(
            f"the written pair does not hold the folded model: {difference}",
            where=written.target,
            way_out="please report it",
        )
    return again


def read_pair(network: Path, weights: Path, format: str, dialect: str, options: ReadOptions) -> Loaded:
    """A pair that was written of a network of this format and dialect. What told the dialect may have gone
    with the batch norms."""
    from ..reading import formats

    asked = dialect if format == "darknet" else options.dialect
    return formats.read(network, weights, replace(options, dialect=asked, strict=False), pair=True)


def aligned(folded: ir.Model, again: ir.Model, same: SameTensor, stored: Collection[NodeInput] = ()) -> str:
    """The first place where two graphs differ, or ""; nodes meet in their order, whatever they are called.
    `same` says when two constants are; those that are `stored`, by nodes of the first and their inputs, must
    be so bit by bit. The second takes the names of the first, so that verification meets the same values
    under the same names."""
    work = _Alignment(folded, again, same, stored)
    found = work.difference()
    if not found:
        work.call_alike()
    return found


class _Alignment:
    """Two graphs side by side; `values` are those of the second by those of the first."""

    def __init__(
        self, folded: ir.Model, again: ir.Model, same: SameTensor, stored: Collection[NodeInput]
    ) -> None:
        self.ours, self.theirs = folded.graph, again.graph
        self.same, self.stored = same, stored
        self.values: dict[ir.Value, ir.Value] = {}

    def difference(self) -> str:
        """The first place where they differ, or ""."""
        from ..ir.graph import label

        if [str(v.shape) for v in self.ours.inputs] != [str(v.shape) for v in self.theirs.inputs]:
            return "its inputs"
        self.values.update(zip(self.ours.inputs, self.theirs.inputs, strict=True))
        for mine, its in zip_longest(self.ours, self.theirs):
            if mine is None or its is None:
                return f"'{label(mine or its)}' is in one alone"
            if not self._same_node(mine, its):
                return f"'{label(mine)}' and '{label(its)}'"
            self.values.update(zip(mine.outputs, its.outputs, strict=True))
        outputs = [self.values.get(v) for v in self.ours.outputs]
        return "" if set(outputs) == set(self.theirs.outputs) else "its outputs"

    def call_alike(self) -> None:
        """Names, notes, and the order of outputs."""
        self.theirs.outputs[:] = [self.values[v] for v in self.ours.outputs]
        for mine, its in self.values.items():
            its.name = mine.name
        for node, other in zip(self.ours, self.theirs, strict=True):
            other.name = node.name
            other.metadata_props.update(node.metadata_props)

    def _same_node(self, mine: ir.Node, its: ir.Node) -> bool:
        from ..ir.difference import same_attribute

        def form(node: ir.Node) -> tuple[object, ...]:
            return node.op_type, node.domain, len(node.outputs), set(node.attributes)

        return (
            form(mine) == form(its)
            and all(same_attribute(a, its.attributes[name], self.same) for name, a in mine.attributes.items())
            and all(
                self._same_value(a, b, (mine.name or "", index))
                for index, (a, b) in enumerate(zip_longest(mine.inputs, its.inputs))
            )
        )

    def _same_value(self, mine: ir.Value | None, its: ir.Value | None, place: NodeInput) -> bool:
        from ..ir.difference import same_bytes

        if mine is None or its is None:
            return mine is its
        if mine.const_value is not None and its.const_value is not None:
            same = same_bytes if place in self.stored else self.same
            return same(mine.const_value, its.const_value)
        return self.values.get(mine) is its
