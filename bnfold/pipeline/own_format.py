"""Results in the model's own format: which output asks for one, and whether the written pair holds the graph.

asked(out)           the row of PAIRS that an output's name asks for, or None
check(job, format)   the job's parts go with such an output
read_back(...)       the written pair as a model, which must be the folded one node by node
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from itertools import zip_longest
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import NotEquivalent, UsageError
from ..results.options import ReadOptions, spelled
from ..results.pair import PairFormat, of_format
from ..results.plan import Loaded

if TYPE_CHECKING:
    import onnx_ir as ir

    from ..ir.difference import SameTensor
    from ..writing import WrittenPair


_NOT_FOR_DARKNET: dict[str, object] = {"cut_at": ()}  # the arrays behind a cut would have to be known
# Options that say something of an ONNX file, or ask for what no layer can be.
_NOT_FOR_PAIRS: dict[str, object] = {
    "opset": None,
    "random_weights": None,
    "heads": "layer",
    "duplicate_producers": False,
    "simplify_leftovers": False,
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


def read_back(written: WrittenPair, loaded: Loaded, folded: ir.Model, options: ReadOptions) -> Loaded:
    """The written pair, read again; its nodes and values are called what they are in the folded model. Raises
    NotEquivalent where it is another graph."""
    from ..ir.difference import same_but_for_rounding

    again = read_pair(written.path, written.weights, loaded.format, loaded.dialect, options)
    if difference := aligned(folded, again.model, same_but_for_rounding):
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


def aligned(folded: ir.Model, again: ir.Model, same: SameTensor) -> str:
    """The first place where two graphs differ, or ""; nodes meet in their order, whatever they are called.
    The second takes the names of the first, so that verification meets the same values under the same
    names."""
    found = _difference(folded, again, same)
    if not found:
        _call_alike(folded, again)
    return found


def _difference(folded: ir.Model, again: ir.Model, same_tensor: SameTensor) -> str:
    from ..ir.graph import label

    if [str(v.shape) for v in folded.graph.inputs] != [str(v.shape) for v in again.graph.inputs]:
        return "its inputs"
    same: dict[ir.Value | None, ir.Value | None] = {None: None}
    same.update(zip(folded.graph.inputs, again.graph.inputs, strict=True))
    for ours, theirs in zip_longest(folded.graph, again.graph):
        if ours is None or theirs is None:
            return f"'{label(ours or theirs)}' is in one alone"
        if not _same_node(ours, theirs, same, same_tensor):
            return f"'{label(ours)}' and '{label(theirs)}'"
        same.update(zip(ours.outputs, theirs.outputs, strict=True))
    if [same.get(v) for v in folded.graph.outputs] != list(again.graph.outputs):
        return "its outputs"
    return ""


def _same_node(
    ours: ir.Node, theirs: ir.Node, same: dict[ir.Value | None, ir.Value | None], same_tensor: SameTensor
) -> bool:
    from ..ir.difference import same_attribute

    def inputs(node: ir.Node) -> list[ir.Value | None]:
        found = list(node.inputs)
        while found and found[-1] is None:
            found.pop()
        return found

    if (ours.op_type, ours.domain, len(ours.outputs)) != (theirs.op_type, theirs.domain, len(theirs.outputs)):
        return False
    if ours.attributes.keys() != theirs.attributes.keys() or not all(
        same_attribute(one, theirs.attributes[name], same_tensor) for name, one in ours.attributes.items()
    ):
        return False
    pairs = list(zip_longest(inputs(ours), inputs(theirs)))
    return all(
        same_tensor(a.const_value, b.const_value)
        if a is not None and b is not None and a.const_value is not None and b.const_value is not None
        else a in same and same[a] is b
        for a, b in pairs
    )


def _call_alike(folded: ir.Model, again: ir.Model) -> None:
    for mine, its in zip(folded.graph.inputs, again.graph.inputs, strict=True):
        its.name = mine.name
    for ours, theirs in zip(folded.graph, again.graph, strict=True):
        theirs.metadata_props.update(ours.metadata_props)
        for a, b in zip(ours.outputs, theirs.outputs, strict=True):
            b.name = a.name
    names = {node.name for node in folded.graph}
    if len(names) == len(list(folded.graph)):
        for ours, theirs in zip(folded.graph, again.graph, strict=True):
            theirs.name = ours.name
