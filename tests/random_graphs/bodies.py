"""Nodes with bodies, and calls of functions: rows like those of operators, each with a scope of its own.

A condition is an input of the model that is true in one half of the runs; a Loop goes round 0, 1, 2 and 3
times.
"""

from __future__ import annotations

import numpy as np
import onnx
from onnx import helper

from .net import RUNS, Net, Rejected, Value, imports
from .operators import BETWEEN, LINEAR, Row, affine_row, conv, drawn_step, einsum, keeping_shape, matmul


def grow(net: Net, steps: int) -> None:
    """Add some nodes, some of them with bodies, and some chains in which a fold is likely."""
    for _ in range(steps):
        kind = net.pick(*["node"] * 7, "body" if net.depth < 2 else "node", *["chain"] * 3, "branches")
        if kind == "chain":
            _chain(net)
        elif kind == "branches":
            net.attempt(_branches, net.draw())
        elif kind == "body":
            net.attempt(net.pick(*BODIES.values()), net.draw())
        else:
            net.attempt(drawn_step(net), net.draw())


def _chain(net: Net) -> None:
    """A linear operator, what a map may pass, and an affine node: in this order, or the other way round."""
    only = net.kept.only
    linear = LINEAR[only] if only in LINEAR and net.chance(0.7) else net.pick(*LINEAR.values())
    between = [net.pick(*BETWEEN.values()) for _ in range(net.integer(0, 2))]
    if only in BETWEEN:
        between = [BETWEEN[only], *between[:1]]
    rows = [linear, *between, affine_row(net)]
    x = net.draw()
    for row in rows if net.chance(0.6) else rows[::-1]:
        y = net.attempt(row, x)
        if y is not None:
            x = y[-1] if isinstance(y, list) else y


def _branches(net: Net, x: Value) -> Value:
    """Linear operators side by side over one value, and their sum: what folding may merge."""
    first = net.attempt(conv, x) or matmul(net, x)
    parts = [first]
    for _ in range(net.integer(1, 2)):
        for _ in range(5):
            row = net.pick(conv, conv, matmul, einsum, keeping_shape, BETWEEN["AveragePool"])
            y = net.attempt(row, x)
            if y is not None and y.like(first):
                parts.append(keeping_shape(net, y) if net.chance(0.4) else y)
                break
    if net.chance(0.3) and x.like(first):
        parts.append(x)
    total = parts[0]
    for part in parts[1:]:
        total = net.op(net.pick("Add", "Add", "Sub"), [total, part] if net.chance(0.5) else [part, total])
    return net.attempt(affine_row(net), total) or total


def _graph(body: Net, name: str, inputs: list[Value], outputs: list[Value]) -> onnx.GraphProto:
    ranks = body.chance(0.75)  # a body need not say the ranks of what it takes and gives

    def infos(values: list[Value]) -> list[onnx.ValueInfoProto]:
        return [
            helper.make_tensor_value_info(
                v.name,
                helper.np_dtype_to_tensor_dtype(v.dtype),
                [None] * v.rank if ranks or not v.is_float else None,
            )
            for v in values
        ]

    return helper.make_graph(body.nodes, name, infos(inputs), infos(outputs), body.initializers)


def _local(body: Net, value: Value) -> Value:
    """A value as a body's output: made inside, and standing there once only."""
    return body.op("Identity", [value])


def _locals(body: Net) -> list[Value]:
    return [v for v in body.values if v.dtype == body.kept.floats and not v.is_constant]


def if_(net: Net, x: Value) -> list[Value]:
    conditions = net.rng.permutation([True, True, False, False])
    condition = net.input("condition", [np.asarray(c) for c in conditions], [])
    then, other = Net(net.kept, net), Net(net.kept, net)
    for branch in (then, other):
        keeping_shape(branch, x)
        grow(branch, net.integer(0, 3))
    pairs = [(a, b) for a in _locals(then) for b in _locals(other) if a.like(b)]
    if not pairs:
        pairs = [(keeping_shape(then, x), keeping_shape(other, x))]
    chosen = [pairs[int(k)] for k in net.rng.permutation(len(pairs))[: net.integer(1, 2)]]
    graphs = {
        key: _graph(branch, f"{key}{net.kept.count}", [], [_local(branch, pair[k]) for pair in chosen])
        for k, (key, branch) in enumerate((("then_branch", then), ("else_branch", other)))
    }
    return net.ops("If", [condition], len(chosen), **graphs)


def _inside(body: Net, stem: str, arrays: list[np.ndarray]) -> Value:
    value = Value(body.fresh(stem), arrays)
    body.values.append(value)
    return value


def loop(net: Net, x: Value) -> list[Value]:
    trips = net.input("trips", [np.asarray(int(n), np.int64) for n in net.rng.permutation([0, 1, 2, 3])], [])
    starts = [x, *([net.draw()] if net.chance(0.4) else [])]
    body = Net(net.kept, net)
    number = _inside(body, "number", [np.asarray(0, np.int64)] * RUNS)
    going = _inside(body, "going", [np.asarray(True)] * RUNS)
    states = [_inside(body, "state", s.arrays) for s in starts]
    on = body.op("Identity", [going])
    ends = _stepped(body, states)
    scans = [_local(body, net.pick(*_locals(body)))] if net.chance(0.3) else []
    graph = _graph(body, f"loop{net.kept.count}", [number, going, *states], [on, *ends, *scans])
    first = net.pick(None, net.stored(np.asarray(True)))
    return net.ops("Loop", [trips, first, *starts], len(ends) + len(scans), body=graph)


def _stepped(body: Net, states: list[Value]) -> list[Value]:
    """What becomes of a body's states."""
    for state in states:
        keeping_shape(body, state)
    grow(body, body.integer(1, 3))
    ends = []
    for state in states:
        fits = [v for v in _locals(body) if v.like(state) and v not in states]
        ends.append(_local(body, fits[-1] if fits and body.chance(0.7) else keeping_shape(body, state)))
    return ends


def scan(net: Net, x: Value) -> list[Value]:
    if net.kept.opset < 9 or not 2 <= x.rank <= 4 or any(0 in shape for shape in x.shapes):
        raise Rejected
    axis, start = net.axis(x), net.draw()
    body = Net(net.kept, net)
    state = _inside(body, "state", start.arrays)
    part = _inside(body, "part", [np.take(a, 0, axis) for a in x.arrays])
    keeping_shape(body, part)
    ends = _stepped(body, [state])
    out = _local(body, net.pick(*(v for v in _locals(body) if v is not state)))
    if out.rank > 4 or any(0 in shape for shape in out.shapes):  # onnxruntime divides by zero
        raise Rejected
    graph = _graph(body, f"scan{net.kept.count}", [state, part], [*ends, out])
    return net.ops(
        "Scan",
        [start, x],
        2,
        body=graph,
        num_scan_inputs=1,
        scan_input_axes=[axis],
        scan_input_directions=[net.integer(0, 1)],
        scan_output_axes=[net.integer(0, out.rank)],
    )


def call(net: Net, x: Value) -> list[Value]:
    """A function of the model's own, called once or twice; one attribute may be the caller's."""
    given = [x, *([net.draw()] if net.chance(0.3) else [])]
    inner = Net(net.kept, net, is_function=True)
    formal = [_inside(inner, "formal", v.arrays) for v in given]
    grow(inner, net.integer(1, 4))
    made = [v for v in _locals(inner) if v not in formal]
    if not made:
        raise Rejected
    results = [made[-1], *([net.pick(*made)] if net.chance(0.3) else [])]
    results = list(dict.fromkeys(results))
    name = net.fresh("Function")
    attributes = _given_by_caller(inner, net)
    function = helper.make_function(
        "local",
        name,
        [v.name for v in formal],
        [v.name for v in results],
        inner.nodes,
        imports(net.kept.opset, [*net.kept.functions, None] if _calls(inner) else []),  # type: ignore[list-item]
        attributes=list(attributes),
    )
    net.kept.functions.append(function)
    first = net.ops(name, given, len(results), domain="local", **attributes)
    others = [v for v in net.candidates() if v.like(x) and v is not x]
    if others and net.chance(0.5):
        net.ops(name, [net.pick(*others), *given[1:]], len(results), domain="local", **attributes)
    return first


def _calls(inner: Net) -> bool:
    return any(node.domain == "local" for node in inner.nodes)


def _given_by_caller(inner: Net, net: Net) -> dict[str, float]:
    """Make an attribute of one node a reference; its value is what the caller gives."""
    found = [a for node in inner.nodes for a in node.attribute if a.name in ("alpha", "epsilon")]
    if not found or not net.chance(0.4):
        return {}
    attribute = net.pick(*found)
    given = {"given": float(attribute.f)}
    attribute.ClearField("f")
    attribute.ref_attr_name = "given"
    return given


BODIES: dict[str, Row] = {"If": if_, "Loop": loop, "Scan": scan, "Function": call}
