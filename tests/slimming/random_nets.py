"""Random networks with channels that do nothing: one from one seed.

A network grows block by block from what it has: convolutions of every kind with batch norms, residual sums,
joins, splits, squeeze and excitation, pools, resizes, padded or not, and a classifier. Some scales of some
batch norms are 0, some shifts let a Relu give nothing, some filters are empty.
"""

from __future__ import annotations

import numpy as np
import onnx
from onnx import helper, numpy_helper

SIZE = 8  # of the images
ACTIVATIONS = ("Relu", "Relu", "Relu", "LeakyRelu", "Sigmoid", "HardSwish", "Clip", "Tanh", "PRelu", "")


class Net:
    """A network that grows. Values are (name, channels, height, width)."""

    def __init__(self, seed: int) -> None:
        self.rng = np.random.default_rng(seed)
        self.nodes: list[onnx.NodeProto] = []
        self.initializers: list[onnx.TensorProto] = []
        self.count = 0
        self.dead = float(self.rng.choice([0.2, 0.5, 0.9]))
        self.extra: list[str] = []

    def chance(self, share: float) -> bool:
        return bool(self.rng.random() < share)

    def op(self, op_type: str, inputs: list[str], outputs: int = 1, **attributes: object) -> list[str]:
        names = [f"v{self.count + k}" for k in range(outputs)]
        self.count += outputs
        self.nodes.append(helper.make_node(op_type, inputs, names, name=f"n_{names[0]}", **attributes))
        return names

    def const(self, values: np.ndarray, dtype: type = np.float32) -> str:
        name = f"c{len(self.initializers)}"
        self.initializers.append(numpy_helper.from_array(np.asarray(values).astype(dtype), name))
        return name

    def conv(self, x, outs, *, kernel=3, pad=None, group=1, transpose=False):
        name, ins, h, w = x
        pad = kernel // 2 if pad is None else pad
        shape = (ins, outs // group, kernel, kernel) if transpose else (outs, ins // group, kernel, kernel)
        weights = self.rng.normal(size=shape) / np.sqrt(ins * kernel)
        if self.chance(0.2) and not transpose:
            weights[self.rng.random(outs) < self.dead] = 0
        inputs = [name, self.const(weights)]
        if self.chance(0.6):
            bias = self.rng.normal(size=outs)
            inputs.append(self.const(bias * (self.rng.random(outs) < 0.7)))
        op_type = "ConvTranspose" if transpose else "Conv"
        (y,) = self.op(op_type, inputs, kernel_shape=[kernel] * 2, pads=[pad] * 4, group=group)
        grown = (kernel - 1 - 2 * pad) * (1 if transpose else -1)
        return y, outs, h + grown, w + grown

    def norm(self, x):
        name, c, h, w = x
        gamma, beta = self.rng.normal(size=c), self.rng.normal(size=c)
        gone = self.rng.random(c) < self.dead
        gamma[gone] = 0
        beta[gone] = self.rng.choice([-1.0, 0.0, 0.0, 0.5], gone.sum())
        rest = [gamma, beta, self.rng.normal(size=c), self.rng.uniform(0.5, 2, c)]
        (y,) = self.op("BatchNormalization", [name, *map(self.const, rest)])
        return y, c, h, w

    def act(self, x):
        name, c, h, w = x
        kind = str(self.rng.choice(ACTIVATIONS))
        if not kind:
            return x
        more, attributes = [], {}
        if kind == "PRelu":
            more = [self.const(self.rng.uniform(0, 1, (c, 1, 1)))]
        if kind == "Clip":
            more = [self.const(np.float32(0)), self.const(np.float32(6))]
        return self.op(kind, [name, *more], **attributes)[0], c, h, w

    def block(self, x, outs=None):
        """A convolution of some kind, a batch norm, an activation."""
        c = x[1]
        kind = self.rng.choice(["plain", "plain", "one", "depthwise", "grouped", "transpose", "unpadded"])
        outs = outs or int(self.rng.choice([4, 6, 8]))
        if kind == "depthwise":
            x = self.act(self.norm(self.conv(x, c, group=c)))
            return self.act(self.norm(self.conv(x, outs, kernel=1)))
        if kind == "grouped" and c % 2 == 0 and outs % 2 == 0:
            return self.act(self.norm(self.conv(x, outs, group=2)))
        if kind == "unpadded" and x[2] > 4:
            return self.act(self.norm(self.conv(x, outs, pad=0)))
        if kind == "transpose":
            return self.act(self.norm(self.conv(x, outs, transpose=True)))
        return self.act(self.norm(self.conv(x, outs, kernel=1 if kind == "one" else 3)))

    def residual(self, x):
        shape = x[1:]
        y = self.norm(self.conv(self.block_like(x), x[1]))
        z = self.norm(x) if self.chance(0.5) else x
        (s,) = self.op(str(self.rng.choice(["Add", "Add", "Sub", "Sum", "Max"])), [y[0], z[0]])
        return self.act((s, *shape))

    def block_like(self, x):
        return self.act(self.norm(self.conv(x, int(self.rng.choice([4, 6])))))

    def excite(self, x):
        name, c, h, w = x
        (p,) = self.op("GlobalAveragePool", [name])
        y = self.act(self.conv((p, c, 1, 1), 4, kernel=1))
        y = self.conv(y, c, kernel=1)
        (s,) = self.op(str(self.rng.choice(["Sigmoid", "HardSigmoid"])), [y[0]])
        (m,) = self.op("Mul", [name, s])
        return m, c, h, w

    def join(self, x):
        parts = [self.act(self.norm(self.conv(x, int(self.rng.choice([4, 6]))))) for _ in range(2)]
        parts += [x] if self.chance(0.5) else []
        (y,) = self.op("Concat", [p[0] for p in parts], axis=1)
        return y, sum(p[1] for p in parts), *x[2:]

    def cut(self, x):
        name, c, h, w = x
        if c < 4:
            return x
        how = self.rng.choice(["Split", "Slice", "Gather"])
        if how == "Split":
            sizes = [c // 2, c - c // 2]
            a, b = self.op("Split", [name, self.const(np.array(sizes), np.int64)], 2, axis=1)
            b = self.act((b, sizes[1], h, w))[0]
            return self.op("Concat", [b, a], axis=1)[0], c, h, w
        if how == "Slice":
            ends = [self.const(np.array([n]), np.int64) for n in (1, c - 1, 1)]
            return self.op("Slice", [name, *ends])[0], c - 2, h, w
        order = self.rng.permutation(c)[: c - 1]
        return self.op("Gather", [name, self.const(order, np.int64)], axis=1)[0], c - 1, h, w

    def space(self, x):
        name, c, h, w = x
        how = self.rng.choice(["MaxPool", "AveragePool", "Count", "Resize", "Pad", "Transpose", "Unknown"])
        if how in ("MaxPool", "AveragePool", "Count"):
            more = {"count_include_pad": 1} if how == "Count" else {}
            op_type = "MaxPool" if how == "MaxPool" else "AveragePool"
            return self.op(op_type, [name], kernel_shape=[3, 3], pads=[1] * 4, **more)[0], c, h, w
        if how == "Resize" and h < 12:
            scales = self.const(np.array([1, 1, 2, 2]))
            return self.op("Resize", [name, "", scales], mode="nearest")[0], c, 2 * h, 2 * w
        if how == "Pad":
            pads = self.const(np.array([0, 0, 1, 1, 0, 0, 1, 1]), np.int64)
            return self.op("Pad", [name, pads])[0], c, h + 2, w + 2
        if how == "Transpose":
            (t,) = self.op("Transpose", [name], perm=[0, 2, 3, 1])
            slope = self.const(self.rng.normal(size=c))
            (t,) = self.op("Mul", [t, slope])
            return self.op("Transpose", [t], perm=[0, 3, 1, 2])[0], c, h, w
        if how == "Unknown" and self.chance(0.3):
            return self.op("LRN", [name], size=3)[0], c, h, w
        return x

    def head(self, x):
        name, c, h, w = x
        how = self.rng.choice(["pool", "flat", "reshape", "mean"])
        if how == "pool":
            (name,) = self.op("GlobalAveragePool", [name])
            h = w = 1
        if how == "mean":
            (name,) = self.op("ReduceMean", [name], axes=[2, 3], keepdims=0)
            width = c
        elif how == "reshape":
            row = [0, c * h * w] if self.chance(0.5) else [-1, c * h * w]
            (name,) = self.op("Reshape", [name, self.const(np.array(row), np.int64)])
            width = c * h * w
        else:
            (name,) = self.op("Flatten", [name])
            width = c * h * w
        weight = self.rng.normal(size=(width, 5)) / np.sqrt(width)
        if self.chance(0.5):
            bias = self.const(self.rng.normal(size=5))
            return self.op("Gemm", [name, self.const(weight.T), bias], transB=1)[0]
        return self.op("MatMul", [name, self.const(weight)])[0]

    def model(self) -> onnx.ModelProto:
        x = ("x", 3, SIZE, SIZE)
        steps = (self.block, self.block, self.residual, self.excite, self.join, self.cut, self.space)
        x = self.block(x)
        for _ in range(int(self.rng.integers(2, 6))):
            x = steps[int(self.rng.integers(len(steps)))](x)
            if self.chance(0.1):
                self.extra.append(x[0])
        x = self.block(x)
        outputs = {self.head(x): 2, **dict.fromkeys(self.extra, 4)}
        graph = helper.make_graph(
            self.nodes,
            "random",
            [helper.make_tensor_value_info("x", 1, ["N", 3, SIZE, SIZE])],
            [helper.make_tensor_value_info(name, 1, [None] * rank) for name, rank in outputs.items()],
            self.initializers,
        )
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def random_net(seed: int) -> onnx.ModelProto:
    """The network of one seed."""
    return Net(seed).model()
