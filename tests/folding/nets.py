"""Random networks in double precision, in which a right fold changes nothing but the last digits.

A net grows node by node: linear operators, affine nodes in every disguise, operators between them, branches
that meet again. Weights are float64, so that folded and unfolded agree to 1e-9 where the fold is right, and
nowhere near that where it is wrong.
"""

from __future__ import annotations

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

Shape = tuple[int, ...]


class Net:
    """A network in the making. `values` are what a node may read: name -> shape."""

    def __init__(self, seed: int, opset: int = 17) -> None:
        self.opset = opset
        self.rng = np.random.default_rng(seed)
        self.nodes: list[onnx.NodeProto] = []
        self.initializers: list[onnx.TensorProto] = []
        self.values: dict[str, Shape] = {}
        self.inputs: list[onnx.ValueInfoProto] = []
        self.count = 0

    def input(self, name: str, shape: Shape) -> str:
        self.inputs.append(helper.make_tensor_value_info(name, TensorProto.DOUBLE, shape))
        self.values[name] = shape
        return name

    def constant(self, values: np.ndarray) -> str:
        name = f"k{len(self.initializers)}"
        self.initializers.append(numpy_helper.from_array(np.asarray(values), name))
        return name

    def op(self, kind: str, inputs: list[str], shape: Shape | list[Shape], **attributes: object) -> str:
        self.count += 1
        many = shape if isinstance(shape, list) else [shape]
        outputs = [f"v{self.count}" + (f"_{k}" if k else "") for k in range(len(many))]
        self.nodes.append(helper.make_node(kind, inputs, outputs, name=f"{kind}_{self.count}", **attributes))
        self.values.update(zip(outputs, many, strict=True))
        return outputs[0]

    def model(self) -> onnx.ModelProto:
        read = {i for n in self.nodes for i in n.input}
        ends = [v for v in self.values if v not in read and v not in {i.name for i in self.inputs}]
        outputs = [helper.make_tensor_value_info(v, TensorProto.DOUBLE, self.values[v]) for v in ends]
        graph = helper.make_graph(self.nodes, "net", self.inputs, outputs, self.initializers)
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", self.opset)], ir_version=8)

    def normal(self, *shape: int) -> np.ndarray:
        return self.rng.normal(0, 0.5, shape)

    def pick(self, *options):  # type: ignore[no-untyped-def]
        return options[int(self.rng.integers(len(options)))]


def conv(net: Net, x: str) -> str:
    n, c, h, w = net.values[x]
    group = net.pick(1, c, *([2] if c % 2 == 0 else []))
    outs = group * int(net.rng.integers(1, 4))
    k = net.pick(1, 1, 3)
    pad = net.pick(0, k // 2)
    if h + 2 * pad < k or w + 2 * pad < k:
        k, pad = 1, 0
    inputs = [x, net.constant(net.normal(outs, c // group, k, k))]
    if net.rng.random() < 0.5:
        inputs.append(net.constant(net.normal(outs)))
    return net.op(
        "Conv", inputs, (n, outs, h + 2 * pad - k + 1, w + 2 * pad - k + 1), group=group, pads=[pad] * 4
    )


def conv_transpose(net: Net, x: str) -> str:
    n, c, h, w = net.values[x]
    group = net.pick(1, c)
    per = int(net.rng.integers(1, 3))
    inputs = [x, net.constant(net.normal(c, per, 2, 2))]
    if net.rng.random() < 0.5:
        inputs.append(net.constant(net.normal(group * per)))
    extra = net.pick(0, 1)
    return net.op(
        "ConvTranspose",
        inputs,
        (n, group * per, 2 * h + extra, 2 * w + extra),
        group=group,
        strides=[2, 2],
        output_padding=[extra] * 2,
    )


def batch_norm(net: Net, x: str) -> str:
    c = net.values[x][1]
    positive = net.rng.random() < 0.6
    gamma = np.abs(net.normal(c)) + 0.1 if positive else net.normal(c)
    quiet = net.rng.random() < 0.3
    mean = np.zeros(c) if quiet else net.normal(c)
    beta = np.zeros(c) if quiet else net.normal(c)
    vectors = [gamma, beta, mean, net.rng.uniform(0.2, 2, c)]
    return net.op("BatchNormalization", [x, *(net.constant(v) for v in vectors)], net.values[x], epsilon=1e-3)


def affine(net: Net, x: str) -> str:
    shape = net.values[x]
    pattern = net.pick(
        (),
        (1,),
        (1, shape[1], *(1,) * (len(shape) - 2)),
        (shape[1], *(1,) * (len(shape) - 2)),
        (shape[-1],),
        shape[1:],
    )
    values = net.rng.uniform(0.5, 1.5, pattern) * net.pick(1, -1)
    kind = net.pick("Mul", "Add", "Sub", "Div")
    operands = [x, net.constant(np.asarray(values))]
    if kind != "Div" and net.rng.random() < 0.4:
        operands.reverse()
    return net.op(kind, operands, shape)


def unary(net: Net, x: str) -> str:
    return net.op(net.pick("Relu", "LeakyRelu", "Identity", "Sigmoid", "Neg", "Abs"), [x], net.values[x])


def pool(net: Net, x: str) -> str:
    n, c, h, w = net.values[x]
    kind = net.pick("MaxPool", "AveragePool", "GlobalAveragePool", "GlobalMaxPool")
    if kind.startswith("Global"):
        return net.op(kind, [x], (n, c, 1, 1))
    if h < 2 or w < 2:
        return x
    pad = net.pick(0, 1)
    extra = {"count_include_pad": net.pick(0, 1)} if kind == "AveragePool" else {}
    return net.op(
        kind, [x], (n, c, h + 2 * pad - 1, w + 2 * pad - 1), kernel_shape=[2, 2], pads=[pad] * 4, **extra
    )


def shuffle(net: Net, x: str) -> str:
    n, c, h, w = net.values[x]
    if c % 2:
        return x
    y = net.op("Reshape", [x, net.constant(np.array([n, 2, c // 2, h, w]))], (n, 2, c // 2, h, w))
    y = net.op("Transpose", [y], (n, c // 2, 2, h, w), perm=[0, 2, 1, 3, 4])
    return net.op("Reshape", [y, net.constant(np.array([0, c, h, w]))], (n, c, h, w))


def nhwc(net: Net, x: str) -> str:
    n, c, h, w = net.values[x]
    y = net.op("Transpose", [x], (n, h, w, c), perm=[0, 2, 3, 1])
    if net.rng.random() < 0.7:
        y = net.op(net.pick("Mul", "Add"), [y, net.constant(net.rng.uniform(0.5, 1.5, c))], (n, h, w, c))
    if net.rng.random() < 0.5:
        y = net.op("MatMul", [y, net.constant(net.normal(c, 3))], (n, h, w, 3))
        c = 3
        if net.rng.random() < 0.5:
            y = net.op("Add", [y, net.constant(net.normal(3))], (n, h, w, 3))
    return net.op("Transpose", [y], (n, c, h, w), perm=[0, 3, 1, 2])


def concat(net: Net, x: str) -> str:
    n, _, h, w = net.values[x]
    others = [v for v, s in net.values.items() if len(s) == 4 and (s[0], *s[2:]) == (n, h, w)]
    other = net.pick(*others)
    parts = [x, other] if net.rng.random() < 0.5 else [conv1(net, x), conv1(net, other)]
    return net.op("Concat", parts, (n, sum(net.values[p][1] for p in parts), h, w), axis=1)


def conv1(net: Net, x: str) -> str:
    n, c, h, w = net.values[x]
    outs = int(net.rng.integers(1, 4))
    return net.op("Conv", [x, net.constant(net.normal(outs, c, 1, 1))], (n, outs, h, w))


def split(net: Net, x: str) -> str:
    n, c, h, w = net.values[x]
    if c < 2:
        return x
    first = int(net.rng.integers(1, c))
    return net.op(
        "Split",
        [x, net.constant(np.array([first, c - first]))],
        [(n, first, h, w), (n, c - first, h, w)],
        axis=1,
    )


def take(net: Net, x: str) -> str:
    n, c, h, w = net.values[x]
    if net.rng.random() < 0.5:
        indices = (
            net.rng.permutation(c)[: max(1, c - 1)] if net.rng.random() < 0.7 else net.rng.integers(0, c, c)
        )
        return net.op("Gather", [x, net.constant(indices)], (n, len(indices), h, w), axis=1)
    step = net.pick(1, 2, -1)
    bounds = (0, c) if step > 0 else (c - 1, -(1 << 40))
    size = len(range(c)[::step])
    return net.op("Slice", [x, *(net.constant(np.array([v])) for v in (*bounds, 1, step))], (n, size, h, w))


def pad(net: Net, x: str) -> str:
    n, c, h, w = net.values[x]
    mode = net.pick("constant", "edge", "reflect")
    if min(h, w) < 2:
        mode = "edge"
    return net.op(
        "Pad", [x, net.constant(np.array([0, 0, 1, 1, 0, 0, 0, 0]))], (n, c, h + 1, w + 1), mode=mode
    )


def resize(net: Net, x: str) -> str:
    n, c, h, w = net.values[x]
    if h * w > 200:
        return x
    mode = net.pick("nearest", "linear")
    return net.op(
        "Resize", [x, "", net.constant(np.array([1, 1, 2, 2], np.float32))], (n, c, 2 * h, 2 * w), mode=mode
    )


def blocks(net: Net, x: str) -> str:
    n, c, h, w = net.values[x]
    if c % 4 == 0:
        return net.op(
            "DepthToSpace", [x], (n, c // 4, 2 * h, 2 * w), blocksize=2, mode=net.pick("DCR", "CRD")
        )
    if h % 2 == 0 and w % 2 == 0:
        return net.op("SpaceToDepth", [x], (n, 4 * c, h // 2, w // 2), blocksize=2)
    return net.op("Tile", [x, net.constant(np.array([1, 2, 1, 1]))], (n, 2 * c, h, w))


def add(net: Net, x: str) -> str:
    shape = net.values[x]
    others = [v for v, s in net.values.items() if s == shape or (len(s) == 4 and s == (*shape[:2], 1, 1))]
    left = conv_same(net, x) if net.rng.random() < 0.5 else x
    return net.op(net.pick("Add", "Sub", "Mul"), [left, net.pick(*others)], shape)


def conv_same(net: Net, x: str) -> str:
    n, c, h, w = net.values[x]
    k = net.pick(1, 3)
    return net.op(
        "Conv",
        [x, net.constant(net.normal(c, c, k, k)), net.constant(net.normal(c))],
        (n, c, h, w),
        pads=[k // 2] * 4,
    )


def branches(net: Net, x: str) -> str:
    parts = [
        batch_norm(net, conv_same(net, x)),
        batch_norm(net, conv_same(net, x)),
        net.pick(x, batch_norm(net, x)),
    ]
    y = net.op("Add", parts[:2], net.values[x])
    return net.op("Add", [y, parts[2]], net.values[x])


def head(net: Net, x: str) -> str:
    """Flatten, Gemm in all its ways, a batch norm; a dead end."""
    n, c, h, w = net.values[x]
    size = c * h * w
    y = net.op("Flatten", [x], (n, size))
    trans = net.pick(0, 1)
    weight = net.normal(5, size) if trans else net.normal(size, 5)
    inputs = [y, net.constant(weight)]
    if net.rng.random() < 0.7:
        inputs.append(net.constant(net.normal(*net.pick((5,), (1, 5), (1,), ()))))
    y = net.op("Gemm", inputs, (n, 5), transB=trans, alpha=net.pick(1.0, 0.5), beta=net.pick(1.0, 2.0))
    batch_norm(net, y)
    return x


STEPS = [
    conv,
    conv,
    conv_transpose,
    batch_norm,
    batch_norm,
    batch_norm,
    affine,
    affine,
    unary,
    pool,
    shuffle,
    nhwc,
    concat,
    split,
    take,
    pad,
    resize,
    blocks,
    add,
    branches,
    head,
]


def random_net(seed: int, length: int = 12) -> onnx.ModelProto:
    """A network of about `length` steps."""
    net = Net(seed)
    x = net.input("x", (2, int(net.rng.integers(1, 7)), 6, 6))
    for _ in range(length):
        if np.prod(net.values[x]) > 6000 or len(net.values[x]) != 4:
            x = "x"
        if net.rng.random() < 0.1:
            x = net.pick(*(v for v, s in net.values.items() if len(s) == 4 and np.prod(s) < 4000))
        x = net.pick(*STEPS)(net, x)
    if not net.nodes:
        conv(net, x)
    return net.model()
