"""One operator on constants, in the element types that the model declares and by the operator's own rounding.

A constant is what the model's own arithmetic computes: float32 stays float32, integers wrap around. Sums,
products and quotients are rounded as IEEE 754 says, on every machine alike. Transcendental functions and long
sums are not: there two libraries differ in the last bit, and where an operator that jumps (Floor, Cast to an
integer, Equal ...) makes a whole step of that, or large numbers cancel so that little but the last bits is
left, onnxruntime is asked what it computes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from ..ir.graph import ir, is_op, named_type
from ..operators.table import op

Array = np.ndarray
NUDGE = 16  # last bits by which an input is moved, to see whether
UNSTABLE = 256 * NUDGE  # last bits of a result are moved by that


class NoKernel(Exception):
    """onnx's reference implementation does not have this operator in this version, or misreads it."""


def keeps_values(node: ir.Node) -> bool:
    """Are all numbers that it gives numbers that it was given?"""
    return op(node).selects


def is_narrow(values: Array) -> bool:
    """Floats of 16 bits or fewer."""
    return values.dtype.itemsize <= 2 and (values.dtype.kind == "f" or "float" in values.dtype.name)


def close(one: Array, other: Array) -> bool:
    """The same type and shape, and numbers within one rounding of 16 bits."""
    if one.dtype != other.dtype or one.shape != other.shape:
        return False
    a, b = widened(one), widened(other)
    if a.dtype != np.float64:
        return bool(np.array_equal(a, b))
    return bool(np.allclose(a, b, rtol=2.0**-9, atol=0.0, equal_nan=True))


def is_exact(node: ir.Node) -> bool:
    """Does every implementation round this operator's results alike?"""
    return op(node).exact or (is_op(node, "Sum") and len(node.inputs) < 3)


def nudged(values: Array | None, seed: int) -> Array | None:
    """Floats of 32 and 64 bits, each moved by a few of its last bits; other values as they are."""
    if values is None or values.dtype not in (np.float32, np.float64):
        return values
    steps = np.random.default_rng(seed).integers(-NUDGE, NUDGE + 1, values.shape)
    with np.errstate(all="ignore"):
        moved: Array = (values + steps * np.spacing(values)).astype(values.dtype)
    return moved


def stable(result: Array, again: Array) -> bool:
    """Did nudged inputs move a result by its last bits alone?"""
    if result.dtype not in (np.float32, np.float64):
        return True
    if again.shape != result.shape:
        return False
    within = UNSTABLE * float(np.finfo(result.dtype).eps)
    return bool(np.allclose(again, result, rtol=within, atol=0.0, equal_nan=True))


def jumps(node: ir.Node) -> bool:
    """May a difference in the last bit become a whole step here?"""
    to = named_type(node) if is_op(node, "Cast") else None
    return op(node).jumps or (to is not None and not to.is_floating_point())


def evaluated(node: ir.Node, inputs: Sequence[Array | None], version: int) -> list[Array] | None:
    """The node's outputs, computed by onnx's reference implementation in the types of the inputs; None where
    it cannot. Raises NoKernel."""
    if version < op(node).misread:
        raise NoKernel
    from onnx import helper
    from onnx.reference import ReferenceEvaluator

    proto = ir.to_proto(node)
    names = [f"i{k}" if a is not None else "" for k, a in enumerate(inputs)]
    del proto.input[:], proto.output[:]
    proto.input.extend(names)
    outputs = [f"o{k}" for k in range(len(node.outputs))]
    proto.output.extend(outputs)
    graph = helper.make_graph(
        [proto],
        "constant",
        [helper.make_empty_tensor_value_info(n) for n in names if n],
        [helper.make_empty_tensor_value_info(n) for n in outputs],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", version)])
    feeds = {n: a for n, a in zip(names, inputs, strict=True) if a is not None}
    try:
        evaluator = ReferenceEvaluator(model)
    except Exception as error:
        raise NoKernel from error
    try:
        with np.errstate(all="ignore"):
            results = evaluator.run(None, feeds)
    except Exception:  # the evaluator raises whatever its kernels raise; what it cannot run is not a constant
        return None
    return [np.asarray(r) for r in results]


def cast(values: Array, to: ir.DataType) -> Array | None:
    """A cast between numbers, rounded as the narrower type does it; None where there is none, and where
    runtimes disagree: numbers beyond an integer's range, and float8."""
    if (
        to in (ir.DataType.UNDEFINED, ir.DataType.STRING)
        or values.dtype.kind in "OUS"
        or (to.bitwidth < 16 and to.is_floating_point())
    ):
        return None
    with np.errstate(all="ignore"):
        result = values.astype(to.numpy())
        if to.is_integer() and values.dtype.kind not in "iub":
            wide = values.astype(np.float64)
            if not (np.isfinite(wide).all() and (np.abs(wide - result.astype(np.float64)) < 1).all()):
                return None
    return np.asarray(result)


def by_onnxruntime(
    node: ir.Node,
    known: Callable[[ir.Value], Array | None],
    computed: Callable[[ir.Node], bool],
    imports: Mapping[str, int],
    version: int,
) -> list[Array] | None:
    """What onnxruntime computes for a node of a constant subgraph, back to what is stored; None where it
    cannot.

    `known` gives the array of a value, `computed` says whether a node belongs to the subgraph."""
    try:
        import onnxruntime
    except ImportError:
        return None
    from onnx import helper, numpy_helper

    protos, stored, waiting, seen = [], {}, [node], {node}
    while waiting:
        one = waiting.pop()
        protos.append(ir.to_proto(one))
        for value in one.inputs:
            if value is None or not value.name:
                continue
            producer = value.producer()
            if producer is not None and computed(producer):
                if producer not in seen:
                    seen.add(producer)
                    waiting.append(producer)
            elif (array := known(value)) is not None:
                stored[value.name] = array
            else:
                return None
    names = [v.name or f"unnamed {k}" for k, v in enumerate(node.outputs)]
    graph = helper.make_graph(
        _in_order(protos),
        "constant",
        [],
        [helper.make_empty_tensor_value_info(n) for n in names],
        [numpy_helper.from_array(a, n) for n, a in stored.items()],
    )
    opsets = [helper.make_opsetid("" if d == "ai.onnx" else d, v) for d, v in imports.items()]
    model = helper.make_model(graph, opset_imports=opsets or [helper.make_opsetid("", version)], ir_version=8)
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    try:
        session = onnxruntime.InferenceSession(
            model.SerializeToString(), options, providers=["CPUExecutionProvider"]
        )
        return [np.asarray(r) for r in session.run(None, {})]
    except Exception:  # whatever it cannot load or run it has no answer for
        return None


def _in_order(protos: list) -> list:  # type: ignore[type-arg]
    """Nodes of a graph without circles, each behind those that it reads."""
    makers = {name: proto for proto in protos for name in proto.output}
    ordered: dict[int, object] = {}
    waiting = [(proto, False) for proto in protos]
    while waiting:
        proto, ready = waiting.pop()
        if id(proto) in ordered:
            continue
        if ready:
            ordered[id(proto)] = proto
            continue
        waiting.append((proto, True))
        waiting.extend((makers[name], False) for name in proto.input if name in makers)
    return list(ordered.values())


def widened(values: Array) -> Array:
    """Floats as float64, for the algebra; everything else as it is."""
    is_float = values.dtype.kind == "f" or (values.dtype.kind == "V" and "float" in values.dtype.name)
    with np.errstate(invalid="ignore"):  # a signalling NaN stays a NaN
        return values.astype(np.float64) if is_float else values
