"""Results in the model's own format: which output asks for one, and whether the written pair holds the graph.

asked(out)           the row of PAIRS that an output's name asks for, or None
check(job, format)   the job's parts go with such an output
read_back(...)       the written pair as a model, which must be the folded one node by node
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from itertools import zip_longest
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import NotEquivalent, UsageError
from ..results.options import ReadOptions, spelled
from ..results.plan import Loaded

if TYPE_CHECKING:
    import onnx_ir as ir

    from ..writing import WrittenPair


@dataclass(frozen=True)
class PairFormat:
    """A format of text and weights, and how its files are called."""

    format: str
    network: str
    weights: str

    def weights_of(self, network: Path) -> Path:
        """`merged.prototxt` -> `merged.caffemodel`, beside it."""
        return network.with_suffix(self.weights)


PAIRS = (PairFormat("caffe", ".prototxt", ".caffemodel"), PairFormat("darknet", ".cfg", ".weights"))
# Options that say something of an ONNX file, or ask for what no layer can be.
_NOT_FOR_PAIRS = {
    "opset": None,
    "random_weights": None,
    "heads": "layer",
    "duplicate_producers": False,
    "simplify_leftovers": False,
}


def asked(out: Path | None) -> PairFormat | None:
    """The pair that an output's name asks for; None for ONNX."""
    suffix = out.suffix.lower() if out is not None else ""
    return next((row for row in PAIRS if row.network == suffix), None)


def of_format(format: str) -> PairFormat | None:
    """The pair of a format; None where it is one file."""
    return next((row for row in PAIRS if row.format == format), None)


def check_source(row: PairFormat, format: str, out: Path) -> None:
    """A pair is written of a model that was one. Raises UsageError."""
    if format != row.format:
        raise UsageError(
            f"{out.name} asks for a {row.format} model, and the model that is read is {format}",
            expected="an output that ends in .onnx"
            + (f" or {other.network}" if (other := of_format(format)) is not None else ""),
        )


def check_options(options: Iterable[object], out: Path) -> None:
    """Options that a pair has no use for are refused. Raises UsageError."""
    for given in options:
        for name, usual in _NOT_FOR_PAIRS.items():
            if getattr(given, name, usual) != usual:
                raise UsageError(
                    f"{spelled(name)} is for ONNX outputs, and {out.name} is none", way_out="leave it out"
                )


def read_back(written: WrittenPair, loaded: Loaded, folded: ir.Model, options: ReadOptions) -> Loaded:
    """The written pair, read again; its nodes and values are called what they are in the folded model. Raises
    NotEquivalent where it is another graph."""
    from ..reading import formats

    dialect = loaded.dialect if loaded.format == "darknet" else options.dialect
    again = formats.read(
        written.path, written.weights, replace(options, dialect=dialect, strict=False), pair=True
    )
    if difference := _difference(folded, again.model):
        raise NotEquivalent(
            f"the written pair does not hold the folded model: {difference}",
            where=written.target,
            way_out="please report it",
        )
    _call_alike(folded, again.model)
    return again


def _difference(folded: ir.Model, again: ir.Model) -> str:
    """The first place where two graphs differ, or ""; nodes meet in their order, whatever they are called."""
    from ..ir.graph import label

    if [v.name for v in folded.graph.inputs] != [v.name for v in again.graph.inputs]:
        return "its inputs"
    same: dict[ir.Value | None, ir.Value | None] = {None: None}
    same.update(zip(folded.graph.inputs, again.graph.inputs, strict=True))
    for ours, theirs in zip_longest(folded.graph, again.graph):
        if ours is None or theirs is None:
            return f"'{label(ours or theirs)}' is in one alone"
        if not _same_node(ours, theirs, same):
            return f"'{label(ours)}' and '{label(theirs)}'"
        same.update(zip(ours.outputs, theirs.outputs, strict=True))
    if [same.get(v) for v in folded.graph.outputs] != list(again.graph.outputs):
        return "its outputs"
    return ""


def _same_node(ours: ir.Node, theirs: ir.Node, same: dict[ir.Value | None, ir.Value | None]) -> bool:
    from ..ir.difference import same_attribute, same_bytes

    def inputs(node: ir.Node) -> list[ir.Value | None]:
        found = list(node.inputs)
        while found and found[-1] is None:
            found.pop()
        return found

    if (ours.op_type, ours.domain, len(ours.outputs)) != (theirs.op_type, theirs.domain, len(theirs.outputs)):
        return False
    if ours.attributes.keys() != theirs.attributes.keys() or not all(
        same_attribute(one, theirs.attributes[name], same_bytes) for name, one in ours.attributes.items()
    ):
        return False
    pairs = list(zip_longest(inputs(ours), inputs(theirs)))
    return all(
        same_bytes(a.const_value, b.const_value)
        if a is not None and b is not None and a.const_value is not None and b.const_value is not None
        else a in same and same[a] is b
        for a, b in pairs
    )


def _call_alike(folded: ir.Model, again: ir.Model) -> None:
    """Names and notes of the folded model, so that verification meets the same values under the same names."""
    for ours, theirs in zip(folded.graph, again.graph, strict=True):
        theirs.metadata_props.update(ours.metadata_props)
        for a, b in zip(ours.outputs, theirs.outputs, strict=True):
            b.name = a.name
    names = {node.name for node in folded.graph}
    if len(names) == len(list(folded.graph)):
        for ours, theirs in zip(folded.graph, again.graph, strict=True):
            theirs.name = ours.name
