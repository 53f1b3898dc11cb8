"""Folds of our own among the obligations: their nodes carry what was folded into them."""

from __future__ import annotations

from dataclasses import replace

from ...ir.graph import graphs, ir, source_text
from ...ir.provenance import FOLDED_KEY, SLIMMED_KEY, Source, parse
from ...results.comparison import Figures, Proof

OURS = {FOLDED_KEY, SLIMMED_KEY}


def folded_by_us(reference: ir.Model, candidate: ir.Model) -> bool:
    """Does any node of the candidate say what was folded into it, or that it lost channels, and do all that
    do come from the reference?

    Then a name that both models have means the same in both, and folded weights were rounded once. Two models
    of one network may share names that do not mean the same (before and after an activation that works in
    place). Where their nodes come from tells them apart; the file's own name does not count, files are
    renamed."""
    folded = [node for graph in graphs(candidate) for node in graph if OURS & node.metadata_props.keys()]
    known = {_origin(node) for graph in graphs(reference) for node in graph}
    return bool(folded) and all(_origin(node) in known for node in folded)


def _origin(node: ir.Node) -> Source:
    return replace(parse(source_text(node)), file="")


def folds_of(proof: Proof) -> list[Figures]:
    """The figures of every obligation that holds a fold: those that hold, and those that are the cause where
    an output does not."""
    wrong = bool(proof.refuted)
    return [
        o.figures
        for o in proof.obligations
        if o.figures is not None and o.folds and (o.verdict == "proved" or (wrong and o.cause))
    ]
