"""Random sums of parallel branches over one value: convolutions of every kernel, dilation, padding and group,
batch norms, x itself.

Space is so small that most sums hold branches whose windows lie over one another, and some that only seem to.
"""

from __future__ import annotations

import numpy as np
import onnx

from .nets import Net, Shape

CHANNELS = 4


def _normalised(net: Net, x: str) -> str:
    vectors = [*(net.normal(CHANNELS) for _ in range(3)), net.rng.uniform(0.3, 2, CHANNELS)]
    return net.op("BatchNormalization", [x, *(net.constant(v) for v in vectors)], net.values[x])


def _conv(net: Net, x: str, stride: int, wanted: Shape) -> str:
    space = net.values[x][2:]
    taps, dilations, group = (
        [net.pick(1, 3, 3, 5, 2) for _ in space],
        [net.pick(1, 1, 2) for _ in space],
        net.pick(1, 1, 2, 4),
    )
    reach = [d * (k - 1) for k, d in zip(taps, dilations, strict=True)]
    before = [r // 2 if net.rng.random() < 0.7 else int(net.rng.integers(r + 1)) for r in reach]
    pads = [*before, *(r - b for r, b in zip(reach, before, strict=True))]
    if tuple((d - 1) // stride + 1 for d in space) != wanted[2:]:
        raise ValueError(f"{space} with a stride of {stride} is not {wanted[2:]}")
    inputs = [x, net.constant(net.normal(CHANNELS, CHANNELS // group, *taps))]
    inputs += [net.constant(net.normal(CHANNELS))] if net.rng.random() < 0.5 else []
    more = {"auto_pad": "SAME_UPPER"} if stride == 1 and net.rng.random() < 0.15 else {"pads": pads}
    return net.op(
        "Conv", inputs, wanted, group=group, dilations=dilations, strides=[stride] * len(space), **more
    )


def _average(net: Net, x: str, stride: int, wanted: Shape) -> str:
    """A mean over a window, as a branch of MobileOne's kin has it; it may count its padding or not."""
    taps = [net.pick(1, 3, 5) for _ in wanted[2:]]
    pads = [k // 2 for k in taps] * 2
    return net.op(
        "AveragePool",
        [x],
        wanted,
        kernel_shape=taps,
        pads=pads,
        strides=[stride] * len(taps),
        count_include_pad=net.pick(0, 1),
    )


def _branch(net: Net, x: str, stride: int, wanted: Shape) -> str:
    kind = net.pick(*["conv"] * 4, "mean", *(["norm", "scale", "itself"] if stride == 1 else []))
    y = x
    if kind == "conv":
        y = _conv(net, x, stride, wanted)
        y = _normalised(net, y) if net.rng.random() < 0.5 else y
    elif kind == "mean":
        y = _average(net, x, stride, wanted)
        y = _normalised(net, y) if net.rng.random() < 0.5 else y
    elif kind == "norm":
        y = _normalised(net, x)
    elif kind == "scale":
        y = net.op("Mul", [x, net.constant(net.normal(CHANNELS, *[1] * (len(wanted) - 2)))], wanted)
    y = net.op("Neg", [y], wanted) if net.rng.random() < 0.15 else y
    return (
        net.op("Mul", [y, net.constant(np.array(net.rng.normal()))], wanted) if net.rng.random() < 0.15 else y
    )


def random_sum(seed: int) -> onnx.ModelProto:
    """Two to four branches of one value, added or subtracted in any order."""
    net = Net(seed)
    shape = (2, CHANNELS, *(int(net.rng.integers(4, 7)) for _ in range(net.pick(1, 2, 2, 2, 3))))
    stride = net.pick(1, 1, 2)
    wanted = (*shape[:2], *((d - 1) // stride + 1 for d in shape[2:]))
    x = net.input("x", shape)
    parts = [_branch(net, x, stride, wanted) for _ in range(int(net.rng.integers(2, 5)))]
    while len(parts) > 1:
        first, second = (parts.pop(int(net.rng.integers(len(parts)))) for _ in range(2))
        y = net.op(net.pick("Add", "Add", "Sub"), [first, second], wanted)
        parts.append(_normalised(net, y) if net.rng.random() < 0.2 else y)
    net.op("Relu", [_normalised(net, parts[0]) if net.rng.random() < 0.5 else parts[0]], wanted)
    return net.model()
