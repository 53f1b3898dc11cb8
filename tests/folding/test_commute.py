"""Every row of COMMUTES against its condition: a linear operator, the row's operator, a batch norm, and back
to front.

A batch norm comes in three kinds: P positive scales without shift, N scales of both signs without shift, S
positive scales and a shift. BACK and AHEAD say which kinds pass an operator; any other must stay. Whatever
happens, the numbers must agree.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from onnx import TensorProto

from bnfold.folding.commute import COMMUTES

from .held import hold
from .nets import Net

Build = Callable[[Net, str], str]
SHAPE = (2, 4, 4, 4)


def op(
    kind: str, shape: tuple[int, ...] = SHAPE, extra: tuple[object, ...] = (), **attributes: object
) -> Build:
    """The operator over a value, with constant further inputs ("" for an absent one)."""

    def build(net: Net, x: str) -> str:
        more = [e if isinstance(e, str) else net.constant(np.asarray(e)) for e in extra]
        return net.op(kind, [x, *more], shape, **attributes)

    return build


def with_input(kind: str, shape: tuple[int, ...]) -> Build:
    """The operator over a value and a second graph input."""
    return lambda net, x: net.op(kind, [x, net.input("side", shape)], SHAPE)


def of_two(kind: str) -> Build:
    """The operator over two values that are linear in the same map: the value and a convolution beside it."""

    def build(net: Net, x: str) -> str:
        other = net.op("Conv", [net.input("beside", SHAPE), net.constant(net.normal(4, 4, 1, 1))], SHAPE)
        return net.op(kind, [x, other], SHAPE)

    return build


def with_pooled(kind: str, pool: str) -> Build:
    """The operator over a value, and over what a pool makes of it."""

    def build(net: Net, x: str) -> str:
        pooled = net.op(pool, [x], SHAPE, kernel_shape=[3, 3], pads=[1, 1, 1, 1])
        return net.op(kind, [x, pooled, x], SHAPE)

    return build


def parts(net: Net, x: str, axis: int, *bounds: tuple[int, int, int]) -> str:
    """Slices of a value, laid end to end."""
    shape = list(net.values[x])
    found = []
    for start, end, step in bounds:
        shape[axis] = len(range(start, end, step))
        numbers = (net.constant(np.array([v])) for v in (start, end, axis, step))
        found.append(net.op("Slice", [x, *numbers], tuple(shape)))
    shape[axis] = sum(len(range(*b)) for b in bounds)
    return net.op("Concat", found, tuple(shape), axis=axis)


def rolled(*axes: int) -> Build:
    """As PyTorch writes torch.roll."""

    def build(net: Net, x: str) -> str:
        for axis in axes:
            x = parts(net, x, axis, (3, 4, 1), (0, 3, 1))
        return x

    return build


def woven(net: Net, x: str) -> str:
    """Every other row and every other column, beside each other: as YOLO's Focus, but along the rows."""
    return parts(net, parts(net, x, 2, (0, 4, 2), (1, 4, 2)), 3, (0, 4, 2), (1, 4, 2))


def circulant(net: Net) -> np.ndarray:
    """A matrix whose rows and columns have one sum."""
    row = net.rng.uniform(0.1, 1, 4)
    return np.stack([np.roll(row, shift) for shift in range(4)])


def einsum(equation: str, other: Callable[[Net], str]) -> Build:
    """The value, which has four axes in the equation, and another operand."""

    def build(net: Net, x: str) -> str:
        first = len(equation.partition(",")[0]) == len(SHAPE)
        operands = [x, other(net)] if first else [other(net), x]
        return net.op("Einsum", operands, SHAPE, equation=equation)

    return build


def chosen(other: Callable[[Net], str]) -> Build:
    """The value where an input is positive, and another operand elsewhere."""

    def build(net: Net, x: str) -> str:
        which = net.op(
            "Greater", [net.input("side", (2, 1, 4, 4)), net.constant(np.array(0.0))], (2, 1, 4, 4)
        )
        return net.op("Where", [which, x, other(net)], SHAPE)

    return build


def net_side(net: Net) -> str:
    return net.input("side", SHAPE)


def concat(net: Net, x: str) -> str:
    other = net.op("Conv", [net.input("beside", SHAPE), net.constant(net.normal(4, 4, 1, 1))], SHAPE)
    y = net.op("Concat", [x, other], (2, 8, 4, 4), axis=1)
    return net.op("Slice", [y, *(net.constant(np.array([v])) for v in (0, 4, 1))], SHAPE)


def split(net: Net, x: str) -> str:
    y = net.op("Split", [x, net.constant(np.array([1, 3]))], [(2, 1, 4, 4), (2, 3, 4, 4)], axis=1)
    return net.op("Concat", [y, f"{y}_1"], SHAPE, axis=1)


def there_and_back(first: Build, second: Build) -> Build:
    return lambda net, x: second(net, first(net, x))


INTS = TensorProto.INT64
ROWS: dict[str, list[tuple[Build, str, str]]] = {
    "Identity": [(op("Identity"), "PNS", "PNS")],
    "Dropout": [(op("Dropout"), "PNS", "PNS")],
    "Cast": [(op("Cast", to=TensorProto.DOUBLE), "PNS", "PNS")],
    "CastLike": [(op("CastLike", extra=(np.zeros(1),)), "PNS", "PNS")],
    "Transpose": [(op("Transpose", (2, 4, 4, 4), perm=[0, 1, 3, 2]), "PNS", "PNS")],
    "Reshape": [
        (
            there_and_back(
                op("Reshape", (2, 2, 2, 16), ([2, 2, 2, 16],)), op("Reshape", SHAPE, ([2, 4, 4, 4],))
            ),
            "PNS",
            "PNS",
        )
    ],
    "Flatten": [
        (there_and_back(op("Flatten", (2, 64)), op("Reshape", SHAPE, ([2, 4, 4, 4],))), "PNS", "PNS")
    ],
    "Unsqueeze": [
        (there_and_back(op("Unsqueeze", (2, 1, 4, 4, 4), ([1],)), op("Squeeze", SHAPE, ([1],))), "PNS", "PNS")
    ],
    "Squeeze": [
        (there_and_back(op("Unsqueeze", (2, 4, 4, 4, 1), ([4],)), op("Squeeze", SHAPE, ([4],))), "PNS", "PNS")
    ],
    "Slice": [
        (op("Slice", (2, 4, 2, 4), ([0], [2], [2])), "PNS", "PNS"),
        (rolled(2, 3), "PNS", "PNS"),
        (rolled(1), "PNS", "PNS"),
        (rolled(1, 2), "PNS", "PNS"),
        (woven, "PNS", "PNS"),
        (
            lambda net, x: parts(net, x, 1, (0, 4, 2), (0, 2, 1), (3, 4, 1)),
            "",
            "PNS",
        ),  # channel 0 goes two ways
    ],
    "Gather": [(op("Gather", SHAPE, ([3, 1, 0, 2],), axis=1), "PNS", "PNS")],
    "Tile": [(op("Tile", (2, 4, 8, 4), ([1, 1, 2, 1],)), "PNS", "PNS")],
    "Expand": [(op("Expand", SHAPE, ([2, 4, 4, 4],)), "PNS", "PNS")],
    "DepthToSpace": [
        (
            there_and_back(
                op("SpaceToDepth", (2, 16, 2, 2), blocksize=2), op("DepthToSpace", SHAPE, blocksize=2)
            ),
            "PNS",
            "PNS",
        )
    ],
    "SpaceToDepth": [
        (
            there_and_back(
                op("SpaceToDepth", (2, 16, 2, 2), blocksize=2), op("DepthToSpace", SHAPE, blocksize=2)
            ),
            "PNS",
            "PNS",
        )
    ],
    "Relu": [(op("Relu"), "P", "P")],
    "LeakyRelu": [(op("LeakyRelu", alpha=0.1), "P", "P")],
    "PRelu": [(op("PRelu", extra=(np.full((4, 1, 1), 0.3),)), "P", "P")],
    "Abs": [(op("Abs"), "P", "P")],
    "MaxPool": [(op("MaxPool", kernel_shape=[3, 3], pads=[1, 1, 1, 1]), "PS", "PS")],
    "GlobalMaxPool": [(op("GlobalMaxPool", (2, 4, 1, 1)), "PS", "PS")],
    "AveragePool": [
        (op("AveragePool", (2, 4, 3, 3), kernel_shape=[2, 2]), "PNS", "PNS"),
        (op("AveragePool", kernel_shape=[3, 3], pads=[1, 1, 1, 1]), "PNS", "PNS"),
        (op("AveragePool", kernel_shape=[3, 3], pads=[1, 1, 1, 1], count_include_pad=1), "PN", "PN"),
    ],
    "GlobalAveragePool": [(op("GlobalAveragePool", (2, 4, 1, 1)), "PNS", "PNS")],
    "ReduceMean": [(op("ReduceMean", (2, 4, 1, 1), axes=[2, 3]), "PNS", "PNS")],
    "ReduceSum": [(op("ReduceSum", (2, 4, 1, 1), ([2, 3],)), "PN", "PN")],
    "ReduceMax": [(op("ReduceMax", (2, 4, 1, 1), axes=[2, 3]), "PS", "PS")],
    "ReduceMin": [(op("ReduceMin", (2, 4, 1, 1), axes=[2, 3]), "PS", "PS")],
    "Resize": [
        (op("Resize", (2, 4, 8, 8), ("", np.array([1, 1, 2, 2], np.float32)), mode="linear"), "PNS", "PNS"),
        (op("Resize", (2, 4, 8, 8), ("", np.array([1, 1, 2, 2], np.float32)), mode="cubic"), "PNS", "PNS"),
    ],
    "Upsample": [],  # gone since opset 10; the row is Resize's
    "Pad": [
        (op("Pad", (2, 4, 5, 5), ([0, 0, 1, 1, 0, 0, 0, 0],)), "PN", "PN"),
        (op("Pad", (2, 4, 5, 5), ([0, 0, 1, 1, 0, 0, 0, 0],), mode="edge"), "PNS", "PNS"),
        (op("Pad", (2, 4, 5, 5), ([0, 0, 1, 1, 0, 0, 0, 0],), mode="reflect"), "PNS", "PNS"),
        (op("Pad", SHAPE, ([0] * 8,)), "PNS", "PNS"),
        (op("Pad", SHAPE, ([0] * 8, np.array(0.5))), "PNS", "PNS"),
        (op("Pad", (2, 4, 2, 3), ([0, 0, -1, -1, 0, 0, -1, 0],)), "PNS", "PNS"),
        (op("Pad", (2, 2, 4, 4), ([0, -1, 0, 0, 0, -1, 0, 0],)), "PNS", "PNS"),
        (op("Pad", (2, 4, 4, 4), ([0, 0, -1, 0, 0, 0, 1, 0],)), "PN", "PN"),
    ],
    "Concat": [(concat, "PNS", "PNS")],
    "Split": [(split, "PNS", "PNS")],
    "Add": [(of_two("Add"), "PNS", "")],
    "Sub": [(of_two("Sub"), "PNS", "")],
    "Sum": [(of_two("Sum"), "PNS", "")],
    "Mean": [
        (of_two("Mean"), "PNS", ""),
        (op("Mean", extra=(np.full((4, 1, 1), 0.3),)), "PNS", ""),
        (with_pooled("Mean", "AveragePool"), "PNS", "PNS"),
    ],
    **{
        kind: [
            (of_two(kind), "PS", ""),
            (with_pooled(kind, "MaxPool"), "PS", "PS"),
            (op(kind, extra=(np.array(0.0),)), "P", "P"),
            (op(kind, extra=(np.array(0.5),)), "", ""),
        ]
        for kind in ("Max", "Min")
    },
    "Clip": [
        (op("Clip", extra=(np.array(0.0),)), "P", "P"),
        (op("Clip", extra=("", np.array(0.0))), "P", "P"),
        (op("Clip"), "PS", "PS"),
        (op("Clip", extra=(np.array(-np.inf), np.array(np.inf))), "PS", "PS"),
        (op("Clip", extra=(np.array(0.0), np.array(6.0))), "", ""),
    ],
    "Where": [
        (chosen(lambda net: net.input("other", SHAPE)), "", ""),
        (chosen(lambda net: conv(net, net.input("other", SHAPE))), "PNS", ""),
        (chosen(lambda net: net.constant(np.array(0.0))), "PN", "PN"),
        (chosen(lambda net: net.constant(np.array(0.5))), "", ""),
    ],
    # a shift that stays before a convolution is left as an Add behind it
    "MatMul": [
        (lambda net, x: net.op("MatMul", [x, net.input("side", SHAPE)], SHAPE), "PNS", "PN"),
        (lambda net, x: net.op("MatMul", [x, net.constant(net.normal(4, 4))], SHAPE), "PNS", "PN"),
        (lambda net, x: net.op("MatMul", [x, net.constant(circulant(net))], SHAPE), "PNS", "PNS"),
        (lambda net, x: net.op("MatMul", [net.constant(circulant(net)), x], SHAPE), "PNS", "PNS"),
    ],
    "Einsum": [
        (einsum("nctv,nctv->nctv", net_side), "PNS", "PN"),
        (einsum("nctv,vw->nctw", lambda net: net.constant(net.normal(4, 4))), "PNS", "PN"),
        (einsum("nctv,vw->nctw", lambda net: net.constant(circulant(net))), "PNS", "PNS"),
        (einsum("tu,nctv->ncuv", lambda net: net.constant(circulant(net))), "PNS", "PNS"),
    ],
    "Mul": [(with_input("Mul", (2, 1, 4, 4)), "PN", "PN"), (with_input("Mul", ()), "PN", "PN")],
    "Div": [(with_input("Div", (2, 1, 4, 4)), "PN", "PN")],
}
LOOK_ALIKES: list[Build] = [
    op("Sigmoid"),
    op("Tanh"),
    op("Softplus"),
    op("Elu"),
    op("HardSwish"),
    op("Softmax", axis=1),
    op("LRN", size=3),
    op("Exp"),
    op("Floor"),
]


def test_every_row_has_its_condition_here() -> None:
    assert set(ROWS) == set(COMMUTES)


def batch_norm(net: Net, x: str, kind: str) -> str:
    channels = net.values[x][1]
    gamma = net.rng.uniform(0.5, 2, channels) * (
        np.where(np.arange(channels) % 2, -1, 1) if kind == "N" else 1
    )
    beta, mean = (
        (net.normal(channels) + 1, net.normal(channels))
        if kind == "S"
        else (np.zeros(channels), np.zeros(channels))
    )
    return net.op(
        "BatchNormalization",
        [x, *(net.constant(v) for v in (gamma, beta, mean, net.rng.uniform(0.5, 2, channels)))],
        net.values[x],
    )


def conv(net: Net, x: str) -> str:
    n, c, *space = net.values[x]
    return net.op(
        "Conv",
        [x, net.constant(net.normal(4, c, *(1 for _ in space))), net.constant(net.normal(4))],
        (n, 4, *space),
    )


CASES = [
    pytest.param(build, back, ahead, id=f"{name}{k}")
    for name, rows in ROWS.items()
    for k, (build, back, ahead) in enumerate(rows)
]


@pytest.mark.parametrize("kind", "PNS")
@pytest.mark.parametrize(("build", "back", "ahead"), CASES)
def test_backward(build: Build, back: str, ahead: str, kind: str) -> None:
    net = Net(1)
    batch_norm(net, build(net, conv(net, net.input("x", SHAPE))), kind)
    held = hold(net.model())
    assert held.count("BatchNormalization") == (0 if kind in back else 1), held.plan.kept


@pytest.mark.parametrize("kind", "PNS")
@pytest.mark.parametrize(("build", "back", "ahead"), CASES)
def test_forward(build: Build, back: str, ahead: str, kind: str) -> None:
    net = Net(2)
    conv(net, build(net, batch_norm(net, net.input("x", SHAPE), kind)))
    held = hold(net.model())
    assert held.count("BatchNormalization") == (0 if kind in ahead else 1), held.plan.kept


@pytest.mark.parametrize("kind", "PNS")
@pytest.mark.parametrize("build", LOOK_ALIKES)
def test_what_does_not_commute_stays(build: Build, kind: str) -> None:
    net = Net(3)
    batch_norm(net, build(net, conv(net, net.input("x", SHAPE))), kind)
    held = hold(net.model())
    assert held.count("BatchNormalization") == 1
    assert set(held.kept().values()) == {"kept.non-linear"}


def test_a_part_that_others_read_too_is_left_as_it_is() -> None:
    """Two of three parts of the channels carry a map; the third is read by another, and keeps its values."""
    net = Net(4)
    x = conv(net, net.input("x", SHAPE))
    batch_norm(net, parts(net, x, 1, (2, 4, 1), (0, 1, 1)), "S")
    net.op("Sigmoid", [parts(net, x, 1, (1, 2, 1))], (2, 1, 4, 4))
    held = hold(net.model())
    assert held.count("BatchNormalization") == 0, held.plan.kept


@pytest.mark.parametrize("other", ["whole", "part"])
def test_parts_whose_rest_is_read_too_stay(other: str) -> None:
    net = Net(5)
    x = conv(net, net.input("x", SHAPE))
    batch_norm(net, parts(net, x, 2, (2, 4, 1), (0, 1, 1)), "S")
    read = x if other == "whole" else parts(net, x, 2, (1, 2, 1))
    net.op("Sigmoid", [read], net.values[read])
    held = hold(net.model())
    assert held.count("BatchNormalization") == 1
    assert set(held.kept().values()) <= {"kept.multiple-consumers", "kept.wrong-axis"}


def test_a_reader_of_the_whole_says_what_the_parts_carry() -> None:
    net = Net(6)
    x = conv(net, net.input("x", SHAPE))
    batch_norm(net, net.op("Max", [rolled(2)(net, x), x], SHAPE), "S")
    assert hold(net.model()).count("BatchNormalization") == 0
    net = Net(6)
    x = conv(net, net.input("x", SHAPE))
    batch_norm(net, net.op("Max", [rolled(1)(net, x), x], SHAPE), "S")
    held = hold(net.model())
    assert set(held.kept().values()) == {"kept.ambiguous-maps"}


def test_operators_that_move_channels_name_themselves() -> None:
    net = Net(7)
    x = conv(net, net.input("x", SHAPE))
    batch_norm(net, net.op("SpaceToDepth", [x], (2, 16, 2, 2), blocksize=2), "P")
    [kept] = hold(net.model()).plan.kept
    assert kept.code == "kept.ambiguous-maps"
    assert kept.reason == "SpaceToDepth makes channels with different maps of one"
