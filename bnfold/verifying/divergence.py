"""The first value whose error leaves the noise, in topological order, with bounded memory.

A few values are exposed per run, spread over those that both models have; the first bad one and the last good
one before it bound the next round. With k values a run, n values take log_k(n) rounds of three runs. One
sample serves: the one that shows the fault best.
"""

from __future__ import annotations

from ..ir.graph import ir, label, source_text
from ..ir.provenance import FOLDED_KEY
from ..results.comparison import Divergence, Figures
from .case import Case, Runs
from .engines.engines import REFUSALS, Simulated, Truth, Values
from .gate import Triple, judge
from .output_gate import figures as figures_of

AT_ONCE = 12


def first_divergence(case: Case, runs: Runs, figures: list[Figures]) -> Divergence:
    """The first common value that fails; the first failing output where no value before it does."""
    names = common_values(case)
    worst = _worst_sample(case, runs, [f.value for f in figures if not f.passed])
    found: Figures | None = None
    low, high = 0, len(names)
    while low < high:
        probes = list(range(low, high, max(1, -(-(high - low) // AT_ONCE))))
        judged = judged_values(case, runs, worst, [names[i] for i in probes])
        if judged is None:
            break
        verdicts = {figure.value: figure for figure in judged}  # none for what is no tensor
        bad = next(
            (k for k, i in enumerate(probes) if names[i] in verdicts and not verdicts[names[i]].passed), None
        )
        if bad is None:
            low = probes[-1] + 1
        else:
            found, high = verdicts[names[probes[bad]]], probes[bad]
            low = probes[bad - 1] + 1 if bad else low
    return described(case, found or next(f for f in figures if not f.passed))


def common_values(case: Case) -> list[str]:
    """Values that nodes of both main graphs compute, in the reference's order."""
    theirs = set(_computed(case.candidate.model))
    return [name for name in _computed(case.reference.model) if name in theirs]


def _computed(model: ir.Model) -> list[str]:
    return [v.name for node in model.graph for v in node.outputs if v.name and node.op_type != "Constant"]


def _worst_sample(case: Case, runs: Runs, names: list[str]) -> int:
    return max(
        range(len(runs.feeds)),
        key=lambda index: max(figures_of(case, name, runs.only(index)).noise for name in names),
    )


def judged_values(case: Case, runs: Runs, index: int, names: list[str]) -> list[Figures] | None:
    """The gate on values inside, for one feed; None, with a note, where they cannot be exposed."""
    feed, simulated = runs.feeds[index], runs.engine.name != "onnxruntime"
    expected: Values = {}
    try:
        with runs.engine.open(case.reference, names) as runner:
            reference = runner.run(feed)
        with runs.engine.open(case.candidate, names) as runner:
            candidate = runner.run(case.interface.for_candidate(feed))
        if runs.truth == "float64":
            with Truth(case.options.seed, stand_ins=simulated).open(case.reference, names) as runner:
                truth = runner.run(feed)
        else:
            truth = reference
        if runs.expected and runs.truth == "float64":
            with Simulated(case.options.seed, stand_ins=simulated, weights=True).open(
                case.reference, names
            ) as runner:
                expected = runner.run(feed)
    except REFUSALS as error:
        case.notes.append(f"values inside the models could not be compared: {error}")
        return None
    shown = [name for name in names if name in reference and name in candidate and name in truth]
    triples = [(n, Triple(truth[n], reference[n], candidate[n], expected.get(n))) for n in shown]
    return [judge(name, [t], case.kind(name, t), case.demands(name, runs)) for name, t in triples]


def described(case: Case, figures: Figures) -> Divergence:
    """The node that computes the value in the candidate, where that node came from, and what was folded into
    it."""
    name = case.interface.renamed_outputs.get(figures.value, figures.value)
    node = next((n for n in case.candidate.model.graph for v in n.outputs if v.name == name), None)
    if node is None:
        return Divergence(figures.value, "", "", "", figures)
    return Divergence(
        figures.value, label(node), source_text(node), node.metadata_props.get(FOLDED_KEY, ""), figures
    )
