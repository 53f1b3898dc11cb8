"""Which weights do the outputs show? A weight that no proof covers is made one per cent larger in the
reference: the gate that judged the candidate's outputs must refuse that, else the weight was never looked at.
"""

from __future__ import annotations

import time
from dataclasses import replace

import numpy as np

from ..ir.foreign_types import cloned
from ..ir.graph import graphs, ir
from ..results.comparison import Proof, Side
from .case import Case, Runs
from .engines.engines import Truth, Values
from .gate import Triple, judge
from .truth.interpreter import CannotEvaluate
from .truth.number_formats import numpy_type, widened

SHARE = 0.01  # of a weight: a fault that an output must be able to show
MOST_PLANTED = 64
PATIENCE_S = 10.0
FEEDS = 2  # samples on which a change may show


def with_seen(case: Case, runs: Runs, proof: Proof) -> Proof:
    """The proof, with those of its unseen weights counted as seen that the outputs show. What the bounds
    leave out stays unseen."""
    if not proof.unseen_weights or proof.refuted or runs.truth != "float64":
        return proof
    case.progress("checking that the outputs show every weight", 0.85)
    until = time.perf_counter() + PATIENCE_S
    seen: set[str] = set()
    for name in proof.unseen_weights[:MOST_PLANTED]:
        if name and _shows(case, runs, name):
            seen.add(name)
        if time.perf_counter() > until:
            break
    left = tuple(name for name in proof.unseen_weights if name not in seen)
    gained = proof.unseen - len(left)
    return replace(proof, seen=proof.seen + gained, unseen=len(left), unseen_weights=left)


def _shows(case: Case, runs: Runs, name: str) -> bool:
    model = planted(case.reference.model, name)
    if model is None:
        return False
    simulated = runs.engine.name != "onnxruntime"
    with Truth(case.options.seed, stand_ins=simulated).open(Side(model)) as runner:
        for index in range(min(FEEDS, len(runs.feeds))):
            try:
                moved = runner.run(runs.feeds[index])
            except CannotEvaluate:
                return False
            if _noticed(case, runs, index, moved):
                return True
    return False


def _noticed(case: Case, runs: Runs, index: int, moved: Values) -> bool:
    """Would the gate refuse a candidate that is off from the reference by what the change does in float64?"""
    truth, reference = runs.truths[index], runs.references[index]
    for name in case.outputs([reference]):
        if name not in truth or name not in moved:
            continue
        true, other, own = truth[name], moved[name], reference[name]
        if true.shape != other.shape or own.shape != true.shape:
            return True
        wide = widened(own)
        candidate = (wide + (other - true)).astype(own.dtype) if wide.dtype.kind == "f" else other
        triple = Triple(true, own, candidate, runs.expected[index].get(name) if runs.expected else None)
        if not judge(name, [triple], case.kind(name, triple), case.demands(name, runs)).passed:
            return True
    return False


def planted(model: ir.Model, name: str) -> ir.Model | None:
    """A copy of the model in which one weight is larger; None where nothing of that name can be."""
    copy = cloned(model)
    for graph in graphs(copy):
        if isinstance(graph, ir.Graph) and (value := graph.initializers.get(name)) is not None:
            value.const_value = None if value.const_value is None else _larger(value.const_value)
            return copy if value.const_value is not None else None
        for node in graph:
            tensor = node.attributes.get("value") if node.op_type == "Constant" else None
            if tensor is not None and node.outputs[0].name == name:
                node.attributes["value"] = ir.AttrTensor("value", _larger(tensor.as_tensor()))
                return copy
    return None


def _larger(tensor: ir.TensorProtocol) -> ir.TensorProtocol:
    values = np.asarray(widened(tensor.numpy()))
    values = values * (1 + SHARE) if values.any() else values + SHARE
    return ir.Tensor(values.astype(numpy_type(tensor.dtype)), dtype=tensor.dtype, name=tensor.name)
