"""The first value whose error leaves the noise, in topological order, with bounded memory.

A few values are exposed per run, spread over those that both models have; the first bad one and the last good one before it bound the
next round. With k values a run, n values take log_k(n) rounds of three runs. One sample serves: the one that shows the fault best.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..comparison import Divergence, Figures
from ..graph import ir, label, source_text
from ..source import FOLDED_KEY
from .engines import REFUSALS, Simulated, Truth
from .gate import Triple, judge

if TYPE_CHECKING:
    from .compare import Case, Runs

AT_ONCE = 12


def first_divergence(case: Case, runs: Runs, figures: list[Figures]) -> Divergence | None:
    """The first common value that fails; the first failing output where no other value does. None if that cannot be run again."""
    names = common_values(case)
    worst = _worst_sample(case, runs, [f.value for f in figures if not f.passed])
    found: Figures | None = None
    low, high = 0, len(names)
    while low < high:
        step = max(1, -(-(high - low) // AT_ONCE))
        probes = list(range(low, high, step))
        verdicts = _verdicts(case, runs, worst, [names[i] for i in probes])
        if verdicts is None:
            return None
        bad = next((k for k, figure in enumerate(verdicts) if not figure.passed), None)
        if bad is not None:
            found, high = verdicts[bad], probes[bad]
            low = probes[bad - 1] + 1 if bad else low
        else:
            low = probes[-1] + 1
        if step == 1:
            break
    found = found or next(f for f in figures if not f.passed)
    return described(case, found)


def common_values(case: Case) -> list[str]:
    """Values that nodes of both main graphs compute, in the reference's order."""
    theirs = {v.name for node in case.candidate.model.graph for v in node.outputs if v.name and _computed(node)}
    return [v.name for node in case.reference.model.graph for v in node.outputs if v.name and v.name in theirs and _computed(node)]


def _computed(node: ir.Node) -> bool:
    return node.op_type != "Constant"


def _worst_sample(case: Case, runs: Runs, names: list[str]) -> int:
    def noise(index: int) -> float:
        one = _single(runs, index)
        return max(case.figures(name, one).noise for name in names)

    return max(range(len(runs.feeds)), key=noise)


def _single(runs: Runs, index: int) -> Runs:
    from .compare import Runs as Made

    return Made(runs.engine, [runs.feeds[index]], [runs.truths[index]], [runs.references[index]], [runs.candidates[index]],
                runs.expected[index:index + 1])


def _verdicts(case: Case, runs: Runs, index: int, names: list[str]) -> list[Figures] | None:
    feed = runs.feeds[index]
    try:
        with Truth(case.options.seed).open(case.reference, names) as runner:
            truth = runner.run(feed)
        with runs.engine.open(case.reference, names) as runner:
            reference = runner.run(feed)
        with Simulated(case.options.seed).open(case.reference, names) as runner:
            expected = runner.run(feed) if runs.expected else {}
        with runs.engine.open(case.candidate, names) as runner:
            candidate = runner.run(case.face.for_candidate(feed))
    except REFUSALS as error:
        case.notes.append(f"the first divergence could not be located: {error}")
        return None
    triples = ((name, Triple(truth[name], reference[name], candidate[name], expected.get(name))) for name in names)
    return [judge(name, [t], case._kind(name, t), case._demands(name)) for name, t in triples]


def described(case: Case, figures: Figures) -> Divergence:
    """Who computes the value in the candidate, where that came from, and what was folded into it."""
    name = case.face.renamed_outputs.get(figures.value, figures.value)
    node = next((n for n in case.candidate.model.graph for v in n.outputs if v.name == name), None)
    if node is None:
        return Divergence(figures.value, "", "", "", figures)
    return Divergence(figures.value, label(node), source_text(node), node.metadata_props.get(FOLDED_KEY, ""), figures)
