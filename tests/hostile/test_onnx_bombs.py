"""ONNX files that ask for much: calls that double, bodies in bodies, constants of any size, many nodes, many
readers of one value."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from .judged import folded

F = TensorProto.FLOAT


@pytest.fixture(autouse=True)
def back(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # a case runs in its own folder, and that is gone afterwards


def model(nodes, initializers=(), functions=(), x=(1, 4, 8, 8), y=None, opset=17):
    inputs = [helper.make_tensor_value_info("x", F, x)]
    graph = helper.make_graph(nodes, "g", inputs, [helper.make_tensor_value_info("y", F, y)], initializers)
    imports = [helper.make_opsetid("", opset), *([helper.make_opsetid("local", 1)] if functions else [])]
    return helper.make_model(
        graph, opset_imports=imports, functions=list(functions), ir_version=8
    ).SerializeToString()


def tensor(name, values):
    return numpy_helper.from_array(np.asarray(values), name)


def norm(x, y, name="n"):
    """A batch norm with the parameters of `PARAMETERS`."""
    return helper.make_node("BatchNormalization", [x, "g", "b", "m", "v"], [y], name)


PARAMETERS = [tensor(name, np.full(4, 0.5, np.float32)) for name in "gbmv"]
WEIGHT = tensor("w", np.ones((4, 4, 1, 1), np.float32))


def function(name, calls):
    wires = ["X", *(f"t{i}" for i in range(1, len(calls))), "Y"]
    nodes = [
        helper.make_node(call, [wires[i]], [wires[i + 1]], domain="local" if call[0] == "F" else "")
        for i, call in enumerate(calls)
    ]
    return helper.make_function(
        "local", name, ["X"], ["Y"], nodes, [helper.make_opsetid("", 17), helper.make_opsetid("local", 1)]
    )


def test_functions_that_call_their_way_to_billions_of_nodes(tmp_path):
    functions = [
        function("F0", ["Relu", "Relu"]),
        *(function(f"F{i}", [f"F{i - 1}"] * 2) for i in range(1, 64)),
    ]
    outcome = folded(
        tmp_path, model([helper.make_node("F63", ["x"], ["y"], domain="local")], functions=functions)
    )
    assert (
        "Unsupported" in outcome.sentence
        and "the calls of functions expand to 3.69e+19 nodes" in outcome.sentence
    )


def test_functions_that_double_a_little_are_read(tmp_path):
    functions = [
        function("F0", ["Relu", "Relu"]),
        *(function(f"F{i}", [f"F{i - 1}"] * 2) for i in range(1, 8)),
    ]
    assert folded(
        tmp_path, model([helper.make_node("F7", ["x"], ["y"], domain="local")], functions=functions)
    ).result


@pytest.mark.parametrize("chain", [{"F0": ["F0"]}, {"F0": ["F1"], "F1": ["F2"], "F2": ["F0"]}])
def test_functions_that_call_themselves(tmp_path, chain):
    functions = [function(name, calls) for name, calls in chain.items()]
    outcome = folded(
        tmp_path, model([helper.make_node("F0", ["x"], ["y"], domain="local")], functions=functions)
    )
    assert "calls itself, directly or through other functions" in outcome.sentence


def nested(depth):
    body = helper.make_graph(
        [helper.make_node("Relu", ["x"], ["z0"])], "b", [], [helper.make_tensor_value_info("z0", F, None)]
    )
    for i in range(1, depth):
        node = helper.make_node(
            "If",
            ["c"],
            [f"z{i}"],
            then_branch=body,
            else_branch=body
            if i < 4
            else onnx.GraphProto(
                name="e",
                node=[helper.make_node("Relu", ["x"], [f"e{i}"])],
                output=[helper.make_tensor_value_info(f"e{i}", F, None)],
            ),
        )
        body = helper.make_graph([node], "b", [], [helper.make_tensor_value_info(f"z{i}", F, None)])
    node = helper.make_node("If", ["c"], ["y"], then_branch=body, else_branch=body)
    return model([node], [tensor("c", np.array(True))])


def test_bodies_in_bodies(tmp_path):
    assert folded(tmp_path, nested(12)).result


def test_bodies_too_deep(tmp_path):
    payload = b""
    for _ in range(
        400
    ):  # graph { node { attribute { g {...} } } }: by hand, for protobuf's own classes refuse to go so deep
        for number in (6, 5, 1):
            size = b""
            length = len(payload)
            while length > 127:
                size += bytes([length & 127 | 128])
                length >>= 7
            payload = bytes([number << 3 | 2]) + size + bytes([length]) + payload
    data = b"\x08\x08" + b"\x3a" + onnx_size(len(payload)) + payload
    assert "Malformed" in folded(tmp_path, data).sentence


def onnx_size(length):
    out = b""
    while length > 127:
        out += bytes([length & 127 | 128])
        length >>= 7
    return out + bytes([length])


HUGE = 1 << 40
LINES = [
    helper.make_node("ConstantOfShape", ["r"], ["row"]),
    helper.make_node("ConstantOfShape", ["c"], ["col"]),
]
LENGTHS = [tensor("r", np.array([1, 1 << 21])), tensor("c", np.array([1 << 21, 1]))]
BOMBS = {
    "ConstantOfShape": ([helper.make_node("ConstantOfShape", ["s"], ["k"])], [tensor("s", np.array([HUGE]))]),
    "Expand": (
        [helper.make_node("Expand", ["one", "s"], ["k"])],
        [tensor("one", np.float32(1)), tensor("s", np.array([HUGE]))],
    ),
    "Tile": (
        [helper.make_node("Tile", ["one", "s"], ["k"])],
        [tensor("one", np.ones(3, np.float32)), tensor("s", np.array([HUGE]))],
    ),
    "Range": (
        [helper.make_node("Range", ["a", "e", "d"], ["k"])],
        [tensor("a", np.float32(0)), tensor("e", np.float32(1e30)), tensor("d", np.float32(1))],
    ),
    "Pad": (
        [helper.make_node("Pad", ["one", "s"], ["k"])],
        [tensor("one", np.ones((1, 1, 1, 1), np.float32)), tensor("s", np.full(8, 4000))],
    ),
    "OneHot": (
        [helper.make_node("OneHot", ["i", "depth", "o"], ["k"])],
        [
            tensor("i", np.zeros(9, np.int64)),
            tensor("depth", np.int64(HUGE)),
            tensor("o", np.array([0, 1], np.float32)),
        ],
    ),
    "broadcast": ([*LINES, helper.make_node("Add", ["row", "col"], ["k"])], LENGTHS),
    "MatMul": ([*LINES, helper.make_node("MatMul", ["col", "row"], ["k"])], LENGTHS),
    "Gather": (
        [
            helper.make_node("ConstantOfShape", ["c"], ["data"]),
            helper.make_node("ConstantOfShape", ["c2"], ["i"], value=tensor("", np.zeros(1, np.int64))),
            helper.make_node("Gather", ["data", "i"], ["k"]),
        ],
        [tensor("c", np.array([2, 1 << 20])), tensor("c2", np.array([1 << 20]))],
    ),
    "Concat": (
        [
            helper.make_node("Concat", [f"k{i}"] * 2, [f"k{i + 1}" if i < 39 else "k"], axis=0)
            for i in range(40)
        ],
        [tensor("k0", np.ones(1, np.float32))],
    ),
}


@pytest.mark.parametrize("name", BOMBS)
def test_constants_are_not_computed_at_any_size(tmp_path, name):
    nodes, initializers = BOMBS[name]
    nodes = [*nodes, norm("x", "t"), helper.make_node("Mul", ["t", "k"], ["y"])]
    outcome = folded(tmp_path, model(nodes, [*initializers, *PARAMETERS], opset=17))
    assert outcome.result and outcome.result.plan.kept


def test_a_thousand_constants_of_the_largest_size(tmp_path):
    nodes = [helper.make_node("ConstantOfShape", ["s"], [f"k{i}"]) for i in range(1000)]
    nodes += [
        helper.make_node("Add", ["x" if i == 0 else f"a{i - 1}", f"k{i}"], [f"a{i}" if i < 999 else "y"])
        for i in range(1000)
    ]
    assert folded(tmp_path, model(nodes, [tensor("s", np.array([1, 1, 1 << 11, 1 << 11]))])).result


def test_maps_do_not_grow_behind_reshapes(tmp_path):
    """A map of four channels, sliced backwards out of pictures of 10^10 pixels."""
    nodes = [helper.make_node("Slice", ["x", "from", "to", "axes"], ["s"]), norm("s", "y")]
    bounds = [
        tensor("from", np.array([0, 0])),
        tensor("to", np.array([9, 9])),
        tensor("axes", np.array([2, 3])),
    ]
    assert folded(tmp_path, model(nodes, [*bounds, *PARAMETERS], x=(1, 4, 100_000, 100_000))).result


def chain(kind, count):
    return [
        helper.make_node(kind, ["x" if i == 0 else f"t{i - 1}"], [f"t{i}" if i < count - 1 else "y"])
        for i in range(count)
    ]


@pytest.mark.parametrize("count", [20_000])
def test_many_nodes_in_a_row(tmp_path, count):
    assert folded(tmp_path, model([norm("x", "t0"), *chain("Relu", count)[1:]], PARAMETERS)).result


def test_nodes_without_an_operator_cost_nothing(tmp_path):
    data = b"\x08\x08\x3a" + onnx_size(2 * 500_000) + b"\x0a\x00" * 500_000
    assert "Malformed" in folded(tmp_path, data).sentence


def test_thousands_of_readers_of_one_value(tmp_path):
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["c"]),
        *(norm("c", f"n{i}", f"bn{i}") for i in range(6000)),
    ]
    nodes.append(helper.make_node("Sum", [f"n{i}" for i in range(6000)], ["y"]))
    assert folded(tmp_path, model(nodes, [WEIGHT, *PARAMETERS])).result


def test_a_value_that_doubles_sixty_times(tmp_path):
    nodes = [
        norm("x", "t0"),
        *(helper.make_node("Add", [f"t{i}"] * 2, [f"t{i + 1}"]) for i in range(60)),
        norm("t60", "y", "last"),
    ]
    assert folded(tmp_path, model(nodes, PARAMETERS)).result


def test_diamonds_in_a_row(tmp_path):
    """2^40 paths through forty pairs of branches."""
    nodes = [helper.make_node("Conv", ["x", "w"], ["t0"])]
    for i in range(40):
        nodes += [
            helper.make_node("Relu", [f"t{i}"], [f"l{i}"]),
            helper.make_node("Relu", [f"t{i}"], [f"r{i}"]),
            helper.make_node("Add", [f"l{i}", f"r{i}"], [f"t{i + 1}"]),
        ]
    assert folded(tmp_path, model([*nodes, norm("t40", "y")], [WEIGHT, *PARAMETERS])).result


def test_many_small_tensors(tmp_path):
    initializers = [tensor(f"k{i}", np.float32(i)) for i in range(20_000)]
    assert folded(tmp_path, model([norm("x", "y")], [*PARAMETERS, *initializers])).result


def test_many_bodies_around_many_names(tmp_path):
    body = helper.make_graph(
        [helper.make_node("Relu", ["x"], ["z"])], "b", [], [helper.make_tensor_value_info("z", F, None)]
    )
    nodes = [
        helper.make_node("If", ["c"], [f"i{k}"], then_branch=body, else_branch=body) for k in range(3000)
    ]
    nodes.append(helper.make_node("Sum", [f"i{k}" for k in range(3000)], ["y"]))
    assert folded(tmp_path, model(nodes, [tensor("c", np.array(True))])).result


def test_a_concat_of_thousands(tmp_path):
    parts = [f"p{i}" for i in range(2000)]
    nodes = [
        helper.make_node("Split", ["x"], parts, axis=0),
        *(norm(p, f"n{p}", f"bn{p}") for p in parts),
        helper.make_node("Concat", [f"n{p}" for p in parts], ["y"], axis=0),
    ]
    assert folded(tmp_path, model(nodes, PARAMETERS, x=(2000, 4, 2, 2), opset=13)).result
