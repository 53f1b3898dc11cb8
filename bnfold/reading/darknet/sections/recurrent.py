"""Recurrent sections: [rnn], [gru], [lstm], [crnn], [conv_lstm], [history].

Rows of the batch are time steps: row t * sequences + s is step t of sequence s. What reads the input alone is
computed for all steps at once; what reads the state is unrolled, one set of nodes per step on shared arrays.
The state is zero at the beginning, so the first step reads no kernel of the state: the kernel times zero is
zero, and what stands behind it is a constant per channel.

    Part    a linear layer with its arrays, ready to be applied
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

import numpy as np

from ....errors import Malformed, Unsupported
from ....ir.graph import ir
from ....ir.tensor import Recipe
from ....records import dataclass
from ..activations import IN_PLACES, activate
from ..dialects import Fork
from ..layer import Layer, dims_of
from ..network import Feature, Kernel
from ..schema import AlexeyInt, PjInt, positive, section
from ..weights import FLOAT, Missing, filled
from .convolution import Conv, apply_conv, apply_dense, take_conv, take_dense

MOST_STEPS = 1000


@dataclass(frozen=True)
class Part:
    """A linear layer with its arrays: `apply` to a value, and its result `at_rest`, for an input of zeros."""

    apply: Callable[[ir.Value], ir.Value]
    at_rest: Callable[[], ir.Value]

    def __call__(self, x: ir.Value | None) -> ir.Value:
        """The layer's result for a value; None stands for zeros."""
        return self.at_rest() if x is None else self.apply(x)


def _dense(
    layer: Layer, what: str, inputs: int, outputs: int, *, norm: bool, activation: str = "linear"
) -> Part:
    prefix = f"{what}/"
    kernel = take_dense(layer, inputs, outputs, norm, prefix)
    return Part(
        lambda x: apply_dense(layer, x, kernel, activation, prefix),
        lambda: activate(layer, _at_rest(layer, kernel, prefix, (1, outputs)), activation),
    )


def _conv(layer: Layer, what: str, channels: int, conv: Conv, state: tuple[int, ...]) -> Part:
    """`state` is (channels, height, width) of the state, for a convolution that reads it."""
    prefix, conv = f"{what}/", conv.check(channels)
    kernel = take_conv(layer, conv, channels, prefix)

    def apply(x: ir.Value) -> ir.Value:
        return apply_conv(layer, x, conv, kernel, prefix)

    def at_rest() -> ir.Value:
        if conv.xnor:  # takes zero for -1
            return apply(layer.weight(f"{prefix}zero", filled((layer.network.sequences, *state), 0)))
        rest = _at_rest(layer, kernel, prefix, (1, conv.filters, 1, 1))
        return activate(layer, rest, conv.activation, special=IN_PLACES)

    return Part(apply, at_rest)


def _at_rest(layer: Layer, kernel: Kernel, prefix: str, shape: tuple[int, ...]) -> ir.Value:
    """What a linear layer makes of zeros, as a constant: its biases behind its batch norm."""
    norm, biases = kernel.norm, kernel.biases
    arrays = [v.const_value for v in (biases, *((norm.scales, norm.mean, norm.variance) if norm else ()))]
    missing = next((array for array in arrays if isinstance(array, Missing)), None)
    if missing is not None:
        return layer.weight(f"{prefix}rest", Missing(shape, missing.where, missing.why))
    epsilon = layer.dialect.epsilon

    def made() -> Iterator[np.ndarray]:
        shift, *statistics = (array.numpy().astype(np.float64) for array in arrays if array is not None)
        if statistics:
            scales, mean, variance = statistics
            shift = shift - scales * mean / np.sqrt(variance + np.float32(epsilon))
        yield shift.astype(np.float32)

    return layer.weight(f"{prefix}rest", Recipe(FLOAT, shape, made))


def _steps(layer: Layer, value: ir.Value) -> list[ir.Value]:
    """The value step by step."""
    steps = layer.network.steps
    if steps > MOST_STEPS:
        raise Unsupported(f"time_steps={steps}", expected=f"at most {MOST_STEPS}: the steps are unrolled")
    return list(layer.split(value, 0, {f"step{t}": layer.network.sequences for t in range(steps)}).values())


def _by_gate(
    layer: Layer, parts: dict[str, Part], x: ir.Value, gates: str, later: str
) -> dict[str, list[ir.Value]]:
    """What every gate takes from the input, step by step. The gate `later` forgets, which has a meaning from
    the second step on."""
    wanted = gates if layer.network.steps > 1 else gates.replace(later, "")
    return {gate: _steps(layer, parts[f"u{gate}"](x)) for gate in wanted}


def _together(layer: Layer, values: Sequence[ir.Value], what: str) -> ir.Value:
    """All steps as rows of one value."""
    if len(values) == 1:
        return values[0]
    return layer.op("Concat", *values, axis=0, what=what, shape=[layer.network.rows, *dims_of(values[0])[1:]])


def _zero(layer: Layer, *dims: int) -> ir.Value:
    return layer.weight("zero", filled((layer.network.sequences, *dims), 0))


def _sum(layer: Layer, *values: ir.Value) -> ir.Value:
    total = values[0]
    for value in values[1:]:
        total = layer.op("Add", total, value, what="sum")
    return total


def _elman(layer: Layer, x: ir.Value, parts: Sequence[Part], shortcut: int) -> ir.Value:
    """s = [s] + input(x) + self(s); the result is output(s)."""
    from_input, from_self, output = parts
    state: ir.Value | None = None
    states = []
    for step in _steps(layer, from_input(x)):
        state = _sum(layer, *([state] if shortcut and state else []), step, from_self(state))
        states.append(state)
    return output(_together(layer, states, "states"))


@section("rnn", recurrent=True)
def rnn(
    layer: Layer,
    x: Feature,
    *,
    output: int = 1,
    hidden: AlexeyInt = 1,
    activation: str = "logistic",
    batch_normalize: int = 0,
    shortcut: int = 0,
    logistic: AlexeyInt = 0,
) -> Feature:
    """Elman's network. pjreddie's hidden width is that of the output; AlexeyAB's own activation of the state
    is logistic=1 or 2."""
    width = hidden if layer.fork is Fork.ALEXEYAB else output
    positive(output=output, hidden=width)
    norm, own = bool(batch_normalize), {1: "logistic", 2: "loggy"}.get(logistic, activation)
    parts = [
        _dense(layer, "input", x.size, width, norm=norm, activation=activation),
        _dense(layer, "self", width, width, norm=norm, activation=own),
        _dense(layer, "output", width, output, norm=norm, activation=activation),
    ]
    out = layer.feature(layer.flat(x), output, 1, 1)
    out.value = _elman(layer, layer.flat(x), parts, shortcut)
    return out


@section("crnn", recurrent=True)
def crnn(
    layer: Layer,
    x: Feature,
    *,
    output: AlexeyInt = 1,
    hidden: AlexeyInt = 1,
    output_filters: PjInt = 1,
    hidden_filters: PjInt = 1,
    size: AlexeyInt = 3,
    stride: AlexeyInt = 1,
    dilation: AlexeyInt = 1,
    pad: AlexeyInt = 0,
    padding: AlexeyInt = 0,
    groups: AlexeyInt = 1,
    activation: str = "logistic",
    batch_normalize: int = 0,
    xnor: AlexeyInt = 0,
    shortcut: int = 0,
) -> Feature:
    """The same with convolutions, of which pjreddie's are 3 x 3 with padding 1."""
    image = layer.image(x)
    if layer.fork is Fork.PJREDDIE:
        output, hidden, pad = output_filters, hidden_filters, 1
        if x.height != x.width:
            x = _swapped(layer, x)
            image = layer.image(x)
    conv = Conv(
        filters=hidden,
        size=size,
        stride_x=stride,
        stride_y=stride,
        padding=size // 2 if pad else padding,
        dilation=dilation,
        groups=groups,
        norm=bool(batch_normalize),
        activation=activation,
        xnor=bool(xnor),
    )
    _same_size(x, conv)
    last = replace(conv, filters=output)
    parts = [
        _conv(layer, "input", x.channels, conv, x.dims),
        _conv(layer, "self", hidden, conv, (hidden, *x.spot)),
        _conv(layer, "output", hidden, last, (hidden, *x.spot)),
    ]
    out = layer.feature(image, output, *x.spot)
    out.value = _elman(layer, image, parts, shortcut)
    return out


def _swapped(layer: Layer, x: Feature) -> Feature:
    """The same numbers with height and width exchanged: pjreddie's parse_crnn passes them in the wrong order
    (src/parser.c)."""
    layer.warn(
        "crnn",
        f"pjreddie's darknet takes the {x.height} x {x.width} pixels of a [crnn] for {x.width} x {x.height}",
    )
    return layer.feature(
        layer.reshape(layer.image(x), [0, x.channels, x.width, x.height], "swapped"),
        x.channels,
        x.width,
        x.height,
    )


def _same_size(x: Feature, conv: Conv) -> None:
    """A state has one size, so its convolutions must keep it."""
    conv.check(conv.groups)
    if conv.out(*x.spot) != x.spot:
        raise Malformed(
            f"size={conv.size} stride={conv.stride_x} padding={conv.padding} change the size of the state",
            expected="convolutions that keep height and width (pad=1, stride=1)",
        )


def _gates(layer: Layer, x: Feature, output: int, sides: str, gates: str, *, norm: bool) -> dict[str, Part]:
    """The dense layers of every gate in the order of the file: side u reads the input, side w the state."""
    return {
        side + gate: _dense(layer, side + gate, x.size if side == "u" else output, output, norm=norm)
        for side in sides
        for gate in gates
    }


@section("gru", recurrent=True)
def gru(layer: Layer, x: Feature, *, output: int = 1, batch_normalize: int = 0, tanh: PjInt = 0) -> Feature:
    """z = sg(Uz x + Wz h), r = sg(Ur x + Wr h), g = act(Uh x + Wh (r h)), h = z h + (1 - z) g. The forks'
    files have U and W in different order; act is the logistic, or tanh with tanh=1."""
    positive(output=output)
    order = "wu" if layer.fork is Fork.PJREDDIE else "uw"
    parts = _gates(layer, x, output, order, "zrh", norm=bool(batch_normalize))
    flat = layer.flat(x)
    given = _by_gate(layer, parts, flat, "zrh", later="r")
    state: ir.Value | None = None
    states = []
    for t in range(layer.network.steps):
        z = layer.op("Sigmoid", _sum(layer, given["z"][t], parts["wz"](state)), what="z")
        part = None
        if state is not None:
            r = layer.op("Sigmoid", _sum(layer, given["r"][t], parts["wr"](state)), what="r")
            part = layer.op("Mul", r, state)
        g = layer.op(
            "Tanh" if tanh else "Sigmoid", _sum(layer, given["h"][t], parts["wh"](part)), what="candidate"
        )
        if state is None:
            state = layer.op("Sub", g, layer.op("Mul", z, g))
        else:  # z h + (1 - z) g = g + z (h - g)
            state = _sum(layer, g, layer.op("Mul", z, layer.op("Sub", state, g)))
        states.append(state)
    out = layer.feature(flat, output, 1, 1)
    out.value = _together(layer, states, "states")
    return out


def _lstm(layer: Layer, x: ir.Value, parts: dict[str, Part], constrain: int = 0) -> ir.Value:
    """f, i, o = sg(W h + U x [+ V c]), g = tanh(W h + U x), c = f c + i g, h = o tanh(c); V of o reads the
    new c."""
    given = _by_gate(layer, parts, x, "figo", later="f")
    cell: ir.Value | None = None
    state: ir.Value | None = None
    states = []
    for t in range(layer.network.steps):
        i = layer.op(
            "Sigmoid", _sum(layer, given["i"][t], parts["wi"](state), *_peep(parts, "vi", cell)), what="i"
        )
        g = layer.op("Tanh", _sum(layer, given["g"][t], parts["wg"](state)), what="g")
        new = layer.op("Mul", i, g)
        if cell is not None:
            total = _sum(layer, given["f"][t], parts["wf"](state), *_peep(parts, "vf", cell))
            f = layer.op("Sigmoid", total, what="f")
            new = _sum(layer, layer.op("Mul", f, cell), new)
        cell = new
        o = layer.op(
            "Sigmoid", _sum(layer, given["o"][t], parts["wo"](state), *_peep(parts, "vo", cell)), what="o"
        )
        state = layer.op("Mul", o, layer.op("Tanh", cell), what="state")
        if constrain:
            cell = layer.op("Clip", cell, layer.scalar(-constrain), layer.scalar(constrain), what="cell")
        states.append(state)
    return _together(layer, states, "states")


def _peep(parts: dict[str, Part], name: str, cell: ir.Value | None) -> list[ir.Value]:
    return [parts[name](cell)] if name in parts else []


@section("lstm", recurrent=True)
def lstm(layer: Layer, x: Feature, *, output: int = 1, batch_normalize: int = 0) -> Feature:
    """An LSTM of dense layers; the files have wi wf wo wg (pjreddie) or wf wi wg wo (AlexeyAB), then the same
    of u."""
    positive(output=output)
    order = "ifog" if layer.fork is Fork.PJREDDIE else "figo"
    parts = _gates(layer, x, output, "wu", order, norm=bool(batch_normalize))
    out = layer.feature(layer.flat(x), output, 1, 1)
    out.value = _lstm(layer, layer.flat(x), parts)
    return out


@section("conv_lstm", only=Fork.ALEXEYAB, recurrent=True)
def conv_lstm(
    layer: Layer,
    x: Feature,
    *,
    output: int = 1,
    size: int = 3,
    stride: int = 1,
    dilation: int = 1,
    pad: int = 0,
    padding: int = 0,
    groups: int = 1,
    activation: str = "linear",
    batch_normalize: int = 0,
    xnor: int = 0,
    peephole: int = 0,
    bottleneck: int = 0,
    state_constrain: int | None = None,
    shortcut: int = 0,
) -> Feature:
    """An LSTM of convolutions, each with the activation; with peephole=1 gates see the cell; the cell is
    clipped after each step."""
    image = layer.image(x)
    if bottleneck:
        raise Unsupported(
            "bottleneck=1 has no CPU code in darknet", where=layer.at("bottleneck"), expected="bottleneck=0"
        )
    if shortcut:
        layer.note(
            "conv_lstm", "shortcut=1 changes nothing: darknet reads it and does not use it", "shortcut"
        )
    conv = Conv(
        filters=output,
        size=size,
        stride_x=stride,
        stride_y=stride,
        padding=size // 2 if pad else padding,
        dilation=dilation,
        groups=groups,
        norm=bool(batch_normalize),
        activation=activation,
        xnor=bool(xnor),
    )
    _same_size(x, conv)
    names = [*(["vf", "vi", "vo"] if peephole else []), *(side + gate for side in "wu" for gate in "figo")]
    sizes = {"u": x.dims, "w": (output, *x.spot), "v": (output, *x.spot)}  # of what a side reads
    parts = {name: _conv(layer, name, sizes[name[0]][0], conv, sizes[name[0]]) for name in names}
    out = layer.feature(image, output, *x.spot)
    constrain = 32 * layer.network.steps if state_constrain is None else state_constrain
    out.value = _lstm(layer, image, parts, constrain)
    return out


@section("history", only=Fork.ALEXEYAB, recurrent=True)
def history(layer: Layer, x: Feature, *, history_size: int = 4) -> Feature:
    """The input, then as much of the previous step's result as fits; with a single time step nothing but
    zeros behind the input."""
    positive(history_size=history_size)
    image, kept = layer.image(x), (history_size - 1) * x.channels
    out = layer.feature(image, history_size * x.channels, *x.spot)
    if layer.network.steps == 1:
        out.value = (
            layer.op("Pad", image, layer.ints([0, 0, 0, 0, 0, kept, 0, 0]), shape=layer.shape(out))
            if kept
            else image
        )
        return out
    shape = [layer.network.sequences, out.channels, *x.spot]
    previous, results = _zero(layer, *out.dims), []
    for step in _steps(layer, image):
        past = layer.op(
            "Slice",
            previous,
            layer.ints([0]),
            layer.ints([kept]),
            layer.ints([1]),
            what="past",
            shape=[layer.network.sequences, kept, *x.spot],
        )
        previous = layer.op("Concat", step, past, axis=1, what="present", shape=shape)
        results.append(previous)
    out.value = _together(layer, results, "steps")
    return out
