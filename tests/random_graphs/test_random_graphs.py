"""Some hundred random graphs with every run of the tests, two thousand with the slow ones; and does the
oracle see a wrong fold?"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import onnx
import pytest

from bnfold.folding import commute, linear_operators, normalisations, rearrange, recognise
from bnfold.folding.commute_rule import Commute

from . import oracle
from .bodies import BODIES
from .generator import Sample, every_node, random_sample
from .net import RUNS
from .operators import ROWS
from .oracle import NoGraph, judge
from .tally import Tally, judged_apart


def check(seeds: range) -> int:
    """Judge the graphs of these seeds, in a process of their own, which a crash of onnxruntime may end; how
    many maps were folded."""
    tally, seed = Tally(), seeds.start
    while seed < seeds.stop:
        seed = judged_apart(tally, seed, seeds.stop, "")
    assert not tally.findings, "the output shows what was found, and the call that finds it again"
    return tally.folds.total()


@pytest.mark.parametrize("part", range(10))
def test_random_graphs(part):
    check(range(20 * part, 20 * (part + 1)))


@pytest.mark.slow
@pytest.mark.parametrize("part", range(20))
def test_two_thousand_random_graphs(part):
    assert check(range(1000 + 100 * part, 1100 + 100 * part)) > 50


@pytest.mark.parametrize(
    "table",
    [
        commute.COMMUTES,
        linear_operators.LINEAR_OPERATORS,
        normalisations.NORMALISATIONS,
        recognise.READERS,
        rearrange.MOVERS,
    ],
)
def test_every_operator_that_folding_knows_is_a_row(table):
    assert table.keys() <= ROWS.keys()


@pytest.mark.parametrize("op", [*ROWS, *BODIES])
def test_every_row_is_drawn(op):
    """Within a few graphs, each row comes to a node that onnxruntime runs."""

    def drawn(seed: int) -> bool:
        model = random_sample(seed, op).model
        return bool(model.functions) if op == "Function" else any(n.op_type == op for n in every_node(model))

    assert any(drawn(seed) for seed in range(30))


def test_the_same_seed_gives_the_same_graph():
    one, two = random_sample(7), random_sample(7)
    assert one.model == two.model
    assert all(np.array_equal(a[n], b[n]) for a, b in zip(one.feeds, two.feeds, strict=True) for n in a)


def _small(text: str) -> Sample:
    model = onnx.parser.parse_model(text)
    shape = [d.dim_value for d in model.graph.input[0].type.tensor_type.shape.dim]
    rng = np.random.default_rng(0)
    feeds = [{"x": rng.normal(size=shape).astype(np.float32)} for _ in range(RUNS)]
    return Sample(model, feeds, frozenset(), 0)


SMALL = """<ir_version: 8, opset_import: ["" : 17]>
    g (float[2, 3] x) => (float[2, 3] y)
    <float[3, 3] w = {1, 2, 3, 4, 5, 6, 7, 8, 9}, float[3] s = {1, -2, 3}, float[3] t = {1, 1, 1}>
    { [matmul] a = MatMul(x, w) [relu] b = Relu(a) [mul] c = Mul(b, s) [add] y = Add(c, t) }"""


def test_a_right_fold_is_no_finding():
    assert judge(_small(SMALL)).finding is None


def test_a_crash_is_a_finding(monkeypatch):
    def broken(*given):
        raise KeyError("broken")

    monkeypatch.setattr(oracle, "fold", broken)
    finding = judge(_small(SMALL)).finding
    assert finding is not None and finding.kind.startswith("crash: KeyError")


def _passes_all(rule: Commute) -> Commute:
    def unchecked(node, maps, context):
        found = next(m for m in maps if m is not None)
        return [found, *([None] * (len(node.inputs) - 1))]

    return replace(rule, back=unchecked)


MUTANTS = {
    "Relu passes anything": ("Relu", _passes_all),
    "ReduceSum passes shifts": ("ReduceSum", lambda rule: commute._reducing("", commute._anything)),
    "AveragePool passes shifts": ("AveragePool", lambda rule: commute._passing("", commute._whole_average)),
    "MaxPool passes negative scales": ("MaxPool", lambda rule: commute._passing("", commute._whole_average)),
    "Abs passes negative scales": ("Abs", lambda rule: commute._passing("", lambda *given: None)),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", MUTANTS)
def test_a_wrong_rule_is_found(name, monkeypatch):
    """Each of these wrong rules shows within 300 graphs that hold its operator."""
    op, wrong = MUTANTS[name]
    monkeypatch.setitem(commute.COMMUTES, op, wrong(commute.COMMUTES[op]))
    for seed in range(300):
        try:
            finding = judge(random_sample(seed, op)).finding
        except NoGraph:
            continue
        if finding is not None and finding.kind == "values":
            return
    pytest.fail(f"{name}, and nothing was found")
