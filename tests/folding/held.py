"""Fold a model and hold it against the unfolded one in float64."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx
import onnx.numpy_helper
import onnx_ir as ir

from bnfold.folding import fold
from bnfold.reading.onnx.reader import read
from bnfold.results.options import FoldOptions
from bnfold.results.plan import Plan
from bnfold.verifying.truth.interpreter import Interpreter


@dataclass
class Held:
    """A folded model that was found equal to its original."""

    model: ir.Model
    plan: Plan

    def count(self, *ops: str) -> int:
        """How many nodes of these operators are left, bodies and functions included."""
        return sum(
            node.op_type in ops for node in ir.traversal.RecursiveGraphIterator(self.model.graph)
        ) + sum(node.op_type in ops for function in self.model.functions.values() for node in function)

    def kept(self) -> dict[str, str]:
        """Node -> code."""
        return {k.node: k.code for k in self.plan.kept}


def hold(
    proto: onnx.ModelProto, options: FoldOptions | None = None, tolerance: float = 1e-12, seed: int = 0
) -> Held:
    """Fold; the result passes the checker, keeps its interface, computes the same, and does not grow."""
    before = proto.SerializeToString(deterministic=True)
    original = read(proto).model
    folded, plan = fold(original, options)
    assert proto.SerializeToString(deterministic=True) == before, "the caller's model was changed"
    onnx.checker.check_model(ir.to_proto(folded), full_check=True)
    rng = np.random.default_rng(seed)
    feeds = {
        v.name: rng.normal(size=[d if isinstance(d, int) else 2 for d in v.shape])
        for v in original.graph.inputs
        if not v.is_initializer()
    }
    wanted, got = Interpreter(original).run(feeds), Interpreter(folded).run(feeds)
    assert list(wanted) == list(got)
    for name, truth in wanted.items():
        error = np.abs(truth - got[name]).max(initial=0.0) / max(np.abs(truth).max(initial=0.0), 1e-30)
        assert error <= tolerance, f"{name} differs by {error:.3g}"
    if options is None or not options.duplicate_producers:
        assert len(folded.graph) <= len(original.graph)
    return Held(folded, plan)


def in_single(proto: onnx.ModelProto) -> onnx.ModelProto:
    """The model in single precision."""
    for stored in proto.graph.initializer:
        if stored.data_type == onnx.TensorProto.DOUBLE:
            stored.CopyFrom(
                onnx.numpy_helper.from_array(
                    onnx.numpy_helper.to_array(stored).astype(np.float32), stored.name
                )
            )
    for value in (*proto.graph.input, *proto.graph.output):
        if value.type.tensor_type.elem_type == onnx.TensorProto.DOUBLE:
            value.type.tensor_type.elem_type = onnx.TensorProto.FLOAT
    return proto
