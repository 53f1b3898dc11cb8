"""RNN, GRU and LSTM, step by step. A row ends at its own length (`sequence_lens`): behind it, Y is zero and
the state stays; the reverse direction begins at each row's own end.

Each operator is one step: (input's share of the gates, state) -> state. What they have in common (directions,
lengths, layout) stands in `_run`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import numpy as np

from .elementwise import sigmoid, softplus
from .windows import Array

Activation = Callable[[Array], Array]
State = tuple[Array, ...]
Step = Callable[[Array, State], State]


def _elu(x: Array, alpha: float, beta: float) -> Array:
    return np.asarray(np.where(x < 0, alpha * np.expm1(np.minimum(x, 0)), x))


# name -> (its function, default alpha, default beta); None: the function takes none
ACTIVATIONS: dict[str, tuple[Callable[[Array, float, float], Array], float | None, float | None]] = {
    "relu": (lambda x, a, b: np.maximum(x, 0), None, None),
    "tanh": (lambda x, a, b: np.tanh(x), None, None),
    "sigmoid": (lambda x, a, b: sigmoid(x), None, None),
    "softsign": (lambda x, a, b: x / (1 + np.abs(x)), None, None),
    "softplus": (lambda x, a, b: softplus(x), None, None),
    "elu": (_elu, 1.0, None),
    "leakyrelu": (lambda x, a, b: np.where(x < 0, a * x, x), 0.01, None),
    "thresholdedrelu": (lambda x, a, b: np.where(x >= a, x, 0.0), 0.0, None),  # as onnxruntime has it
    "affine": (lambda x, a, b: a * x + b, 1.0, 0.0),
    "scaledtanh": (lambda x, a, b: a * np.tanh(b * x), 1.0, 1.0),
    "hardsigmoid": (lambda x, a, b: np.clip(a * x + b, 0, 1), 0.2, 0.5),
}


def rnn(
    call: Any,
    x: Array,
    w: Array,
    r: Array,
    b: Array | None = None,
    lens: Array | None = None,
    initial: Array | None = None,
) -> tuple[Array, ...]:
    """H = f(X Wᵀ + H Rᵀ + Wb + Rb)."""

    def steps(d: int, f: Activation) -> tuple[Array, Step]:
        both = _biases(b, d, w.shape[1])
        return x_times(w[d]) + both.sum(axis=0), lambda gates, state: (f(gates + state[0] @ r[d].T),)

    x, (initial,) = _time_first(call, x, [initial])
    x_times = partial(_product, x)
    return _run(call, x, lens, w.shape[0], r.shape[2], [initial], steps, ("Tanh",))


def gru(
    call: Any,
    x: Array,
    w: Array,
    r: Array,
    b: Array | None = None,
    lens: Array | None = None,
    initial: Array | None = None,
) -> tuple[Array, ...]:
    """H = (1 - z) h + z H, with the gates z, r, h in this order."""
    size, linear_before_reset = r.shape[2], bool(call.get("linear_before_reset", 0))

    def steps(d: int, f: Activation, g: Activation) -> tuple[Array, Step]:
        of_w, of_r = _biases(b, d, w.shape[1])
        r_gates, r_hidden = r[d][: 2 * size].T, r[d][2 * size :].T

        def step(gates: Array, state: State) -> State:
            (h,) = state
            update, reset = _parts(f(gates[:, : 2 * size] + h @ r_gates + of_r[: 2 * size]), size)
            if linear_before_reset:
                hidden = reset * (h @ r_hidden + of_r[2 * size :])
            else:
                hidden = (reset * h) @ r_hidden + of_r[2 * size :]
            hidden = g(gates[:, 2 * size :] + hidden)
            return ((1 - update) * hidden + update * h,)

        return x_times(w[d]) + of_w, step

    x, (initial,) = _time_first(call, x, [initial])
    x_times = partial(_product, x)
    return _run(call, x, lens, w.shape[0], size, [initial], steps, ("Sigmoid", "Tanh"))


def lstm(
    call: Any,
    x: Array,
    w: Array,
    r: Array,
    b: Array | None = None,
    lens: Array | None = None,
    initial_h: Array | None = None,
    initial_c: Array | None = None,
    peepholes: Array | None = None,
) -> tuple[Array, ...]:
    """C = f C + i c; H = o h(C), with the gates i, o, f, c in this order; peepholes look from C at i, o and
    f."""
    size, coupled = r.shape[2], bool(call.get("input_forget", 0))

    def steps(d: int, f: Activation, g: Activation, h: Activation) -> tuple[Array, Step]:
        both = _biases(b, d, w.shape[1])
        seen = np.zeros((3, size)) if peepholes is None else peepholes[d].reshape(3, size)

        def step(gates: Array, state: State) -> State:
            hidden, cell = state
            i, o, forget, c = _parts(gates + hidden @ r[d].T, size)
            i = f(i + seen[0] * cell)
            forget = 1 - i if coupled else f(forget + seen[2] * cell)
            cell = forget * cell + i * g(c)
            return f(o + seen[1] * cell) * h(cell), cell

        return x_times(w[d]) + both.sum(axis=0), step

    x, states = _time_first(call, x, [initial_h, initial_c])
    x_times = partial(_product, x)
    return _run(call, x, lens, w.shape[0], size, states, steps, ("Sigmoid", "Tanh", "Tanh"))


def _product(x: Array, w: Array) -> Array:
    return np.asarray(x @ w.T)


def _biases(b: Array | None, d: int, gates: int) -> Array:
    """The biases of W and of R, a row each."""
    return np.zeros((2, gates)) if b is None else b[d].reshape(2, gates)


def _parts(gates: Array, size: int) -> list[Array]:
    return [gates[:, k : k + size] for k in range(0, gates.shape[1], size)]


def _time_first(call: Any, x: Array, states: Sequence[Array | None]) -> tuple[Array, list[Array | None]]:
    """The input and the initial states with the axes of layout 0: time, then batch; direction, then batch."""
    if not call.get("layout", 0):
        return x, list(states)
    return x.swapaxes(0, 1), [None if s is None else s.swapaxes(0, 1) for s in states]


def _run(
    call: Any,
    x: Array,
    lens: Array | None,
    directions: int,
    size: int,
    initial: Sequence[Array | None],
    steps: Callable[..., tuple[Array, Step]],
    default: tuple[str, ...],
) -> tuple[Array, ...]:
    """Every direction over all its steps: (Y, Y_h) and the rest of the state."""
    time, batch = x.shape[:2]
    lengths = np.full(batch, time) if lens is None else np.asarray(lens).astype(np.int64).reshape(batch)
    if lengths.min(initial=0) < 0 or lengths.max(initial=0) > time:
        raise ValueError(f"sequence_lens of {lengths.min()} to {lengths.max()} over {time} steps")
    activations = list(_activations(call, default * directions))
    y = np.zeros((time, directions, batch, size))
    finals: list[State] = []
    for d in range(directions):
        own = activations[d * len(default) : (d + 1) * len(default)]
        gates, step = steps(d, *own)
        backward = d == 1 or call.get("direction", "forward") == "reverse"
        order = _order(lengths, time, backward)
        state: State = tuple(np.zeros((batch, size)) if s is None else s[d] for s in initial)
        for t in range(time):
            active = (t < lengths)[:, None]
            at = order[t], np.arange(batch)
            after = step(gates[at], state)
            state = tuple(np.where(active, new, old) for new, old in zip(after, state, strict=True))
            y[order[t], d, np.arange(batch)] = np.where(active, state[0], y[order[t], d, np.arange(batch)])
        finals.append(tuple(np.where(lengths[:, None] > 0, s, 0.0) for s in state))  # as onnxruntime has it
    ends = [np.stack(parts) for parts in zip(*finals, strict=True)]
    if call.get("layout", 0):
        return y.transpose(2, 0, 1, 3), *(end.swapaxes(0, 1) for end in ends)
    return y, *ends


def _order(lengths: Array, time: int, backward: bool) -> Array:
    """The step of the input that each row reads at each step; behind its end, any."""
    forward = np.repeat(np.arange(time)[:, None], len(lengths), axis=1)
    return np.where(forward < lengths, lengths - 1 - forward, forward) if backward else forward


def _activations(call: Any, default: tuple[str, ...]) -> Iterator[Activation]:
    """The functions in their order; each takes the next alpha and beta if it has one."""
    alphas, betas = iter(call.get("activation_alpha") or ()), iter(call.get("activation_beta") or ())
    clip = call.get("clip")
    names = call.get("activations") or default
    if len(names) != len(default):
        raise ValueError(f"{len(names)} activations where {len(default)} are needed")
    for place, name in enumerate(names):
        function, alpha, beta = ACTIVATIONS[name.lower()]
        alpha = None if alpha is None else float(next(alphas, np.float32(alpha)))
        beta = None if beta is None else float(next(betas, np.float32(beta)))
        of_cell = call.op == "LSTM" and place % 3 == 2  # the cell itself is not clipped
        yield partial(_activated, function, None if of_cell else clip, alpha or 0.0, beta or 0.0)


def _activated(
    function: Callable[[Array, float, float], Array], clip: float | None, alpha: float, beta: float, x: Array
) -> Array:
    return np.asarray(function(x if not clip else np.clip(x, -clip, clip), alpha, beta))


TABLE: dict[str, Callable[..., Any]] = {"RNN": rnn, "GRU": gru, "LSTM": lstm}
