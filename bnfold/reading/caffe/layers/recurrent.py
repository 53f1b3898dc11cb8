"""LSTM and RNN over time, as ONNX Scan: cont_t (0 at the beginning of a sequence) clears the state before
step t.

    LSTM   gates i, f, o, g = W_hc (cont h) + W_xc x + b;  c = cont sigmoid(f) c + sigmoid(i) tanh(g);  h =
           sigmoid(o) tanh(c)
    Lstm   CTPN's: the same gates without marks
    RNN    h = tanh(W_hh (cont h) + W_xh x + b_h);  o = tanh(W_ho h + b_o)

What the input contributes is one product for all steps, outside of the scan.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from ....ir.graph import ir
from ..blob import Shape, shown
from ..layer import FLOAT, Layer, Value, dims
from ..registry import FILLER, layer

PARAM = "recurrent_param"
IGNORED = {"debug_info": "prints", "weight_filler": FILLER, "bias_filler": FILLER}


class Body:
    """The graph of one step, in the making."""

    def __init__(self, at: Layer) -> None:
        self.at = at
        self.graph = ir.Graph([], [], nodes=[], name=f"{at.name}/step", opset_imports={"": at.build.opset})

    def input(self, what: str, shape: Shape) -> Value:
        """A state or a slice of a sequence."""
        value = ir.Value(name=self.at.fresh(what), shape=ir.Shape(shape), type=ir.TensorType(FLOAT))
        self.graph.inputs.append(value)
        return value

    def op(self, op_type: str, *inputs: Value, shape: Shape | None = None, **attributes: Any) -> Value:
        """One node; the shape is that of its first input unless given."""
        name = self.at.fresh(f"step_{op_type.lower()}")
        value = ir.Value(
            name=name,
            shape=ir.Shape(shape if shape is not None else dims(inputs[0])),
            type=ir.TensorType(FLOAT),
        )
        self.graph.append(ir.node(op_type, list(inputs), attributes, outputs=[value], name=name))
        return value


def _inputs(
    at: Layer, x: Value, rest: Sequence[Value], states: int, expose: bool
) -> tuple[Value, Value | None, list[Value]]:
    """(cont as (T, N, 1), the static input, the initial states)."""
    steps, batch = dims(x)[:2] if len(dims(x)) > 2 else (0, 0)
    wanted = 1 + states * expose
    if not steps or len(rest) not in (wanted, wanted + 1):
        raise at.malformed(
            f"{1 + len(rest)} bottoms, the first of shape {shown(dims(x))}",
            f"x (T, N, ...), cont (T, N) and optionally a static input{', and the states' * expose}",
        )
    if dims(rest[0]) != (steps, batch):
        raise at.malformed(f"cont of shape {shown(dims(rest[0]))}", f"{shown((steps, batch))}")
    return (
        at.reshape(rest[0], (steps, batch, 1)),
        rest[1] if len(rest) > wanted else None,
        list(rest[-states:]) if expose else [],
    )


def _projected(
    at: Layer, x: Value, static: Value | None, rows: int, names: tuple[str, str, str]
) -> tuple[Value, int]:
    """What the inputs contribute to every step, (T, N, rows), and how many blobs that took."""
    steps, batch = dims(x)[:2]
    into = math.prod(dims(x)[2:])
    weight, bias = at.blob(0, names[0], (rows, into)), at.blob(1, names[1], (rows,), default=0.0)
    y = at.op(
        "Gemm", at.reshape(x, (steps * batch, into)), weight, bias, shape=(steps * batch, rows), transB=1
    )
    y = at.reshape(y, (steps, batch, rows))
    if static is None:
        return y, 2
    if dims(static)[0] != batch:
        raise at.malformed(f"a static input of shape {shown(dims(static))}", f"{batch} items")
    flat = at.reshape(static, (batch, math.prod(dims(static)[1:])))
    fixed = at.op("Gemm", flat, at.blob(2, names[2], (rows, dims(flat)[1])), shape=(batch, rows), transB=1)
    return at.op("Add", y, fixed), 3


def _start(at: Layer, states: Sequence[Value], count: int, shape: Shape) -> list[Value]:
    """The states before the first step: bottoms (1, N, H), or zeros."""
    if not states:
        at.limit_constant(*shape)
        return [at.constant(np.zeros(shape, np.float32), "start") for _ in range(count)]
    if wrong := next((s for s in states if math.prod(dims(s)) != math.prod(shape)), None):
        raise at.malformed(f"a state of shape {shown(dims(wrong))}", shown((1, *shape)))
    return [at.reshape(state, shape) for state in states]


def _scan(
    at: Layer, body: Body, starts: Sequence[Value], sequences: Sequence[Value], hidden: int
) -> list[Value]:
    """[states after the last step as (1, N, H) ..., the sequence (T, N, H)]"""
    steps, batch = dims(sequences[0])[:2]
    state = (batch, hidden)
    results = at.ops(
        "Scan",
        *starts,
        *sequences,
        shapes=[*[state] * len(starts), (steps, *state)],
        num_scan_inputs=len(sequences),
        body=body.graph,
    )
    return [
        *[at.reshape(value, (1, *state)) for value in (results[:-1] if len(at.tops) > 1 else ())],
        results[-1],
    ]


@layer("LSTM", param=PARAM, ignoring=IGNORED)
def lstm(at: Layer, x: Value, *rest: Value, num_output: int = 0, expose_hidden: bool = False) -> list[Value]:
    """Long short-term memory over (T, N, ...), with cont (T, N), optionally a static input and visible
    states"""
    cont, static, states = _inputs(at, x, rest, 2, expose_hidden)
    if num_output < 1:
        raise at.malformed("'num_output' is missing", "a positive number", at=(PARAM, "num_output"))
    size, batch = num_output, dims(x)[1]
    projected, used = _projected(at, x, static, 4 * size, ("weight_xc", "bias", "weight_xc_static"))
    recurrent = at.blob(used, "weight_hc", (4 * size, size))
    start = _start(at, states, 2, (batch, size))
    *last, sequence = _lstm_steps(at, projected=projected, cont=cont, recurrent=recurrent, start=start)
    return [sequence, *last]


def _lstm_steps(
    at: Layer, *, projected: Value, cont: Value, recurrent: Value, start: Sequence[Value]
) -> list[Value]:
    """[hidden state and cell after the last step, the hidden states of all steps]; gates in the order i, f,
    o, g"""
    batch, size = dims(start[0])
    sizes = at.constant(np.array([size] * 4), "gates")
    body = Body(at)
    h, c = body.input("h_before", (batch, size)), body.input("c_before", (batch, size))
    x_t, cont_t = body.input("x_t", (batch, 4 * size)), body.input("cont_t", (batch, 1))
    gates = body.op("Gemm", body.op("Mul", h, cont_t), recurrent, x_t, shape=(batch, 4 * size), transB=1)
    parts = [
        ir.Value(name=at.fresh(f"gate_{gate}"), shape=ir.Shape((batch, size)), type=ir.TensorType(FLOAT))
        for gate in "ifog"
    ]
    body.graph.append(
        ir.node("Split", [gates, sizes], {"axis": 1}, outputs=parts, name=at.fresh("step_split"))
    )
    i, f, o = (body.op("Sigmoid", part) for part in parts[:3])
    forgotten = body.op("Mul", body.op("Mul", f, cont_t), c)
    c_next = body.op("Add", forgotten, body.op("Mul", i, body.op("Tanh", parts[3])))
    h_next = body.op("Mul", o, body.op("Tanh", c_next))
    body.graph.outputs.extend([h_next, c_next, body.op("Identity", h_next)])
    return _scan(at, body, start, [projected, cont], size)


@layer(
    "Lstm",
    param="lstm_param",
    origin="ctpn",
    ignoring={
        "clipping_threshold": "training",
        "weight_filler": FILLER,
        "bias_filler": FILLER,
        "batch_size": "nothing reads it",
    },
)
def lstm_of_ctpn(at: Layer, x: Value, marks: Value | None = None, *, num_output: int | None = None) -> Value:
    """Long short-term memory over (T, N, ...) that begins anew with every blob; its blobs are the weights of
    the input, those of the state, and the bias"""
    if marks is not None:
        raise at.unsupported(
            "marks of sequences, which carry a state from one pass to the next", "one bottom"
        )
    shape = dims(x)
    if len(shape) < 3 or not num_output:
        raise at.malformed(
            f"a bottom of shape {shown(shape)} and num_output {num_output}",
            "(T, N, ...), and lstm_param { num_output: ... }",
        )
    steps, batch, into, rows = *shape[:2], math.prod(shape[2:]), 4 * num_output
    weight, bias = at.blob(0, "weight_i", (rows, into)), at.blob(2, "bias", (rows,), default=0.0)
    flat = at.reshape(x, (steps * batch, into))
    projected = at.op("Gemm", flat, weight, bias, shape=(steps * batch, rows), transB=1)
    at.limit_constant(steps, batch)
    return _lstm_steps(
        at,
        projected=at.reshape(projected, (steps, batch, rows)),
        cont=at.constant(np.ones((steps, batch, 1), np.float32), "goes_on"),
        recurrent=at.blob(1, "weight_h", (rows, num_output)),
        start=_start(at, (), 2, (batch, num_output)),
    )[-1]


@layer("RNN", param=PARAM, ignoring=IGNORED)
def rnn(at: Layer, x: Value, *rest: Value, num_output: int = 0, expose_hidden: bool = False) -> list[Value]:
    """A simple recurrent network over (T, N, ...), with cont (T, N), optionally a static input and a
    visible state"""
    cont, static, states = _inputs(at, x, rest, 1, expose_hidden)
    if num_output < 1:
        raise at.malformed("'num_output' is missing", "a positive number", at=(PARAM, "num_output"))
    size, (steps, batch) = num_output, dims(x)[:2]
    projected, used = _projected(at, x, static, size, ("weight_xh", "bias_h", "weight_xh_static"))
    recurrent = at.blob(used, "weight_hh", (size, size))
    body = Body(at)
    h = body.input("h_before", (batch, size))
    x_t, cont_t = body.input("x_t", (batch, size)), body.input("cont_t", (batch, 1))
    h_next = body.op("Tanh", body.op("Gemm", body.op("Mul", h, cont_t), recurrent, x_t, transB=1))
    body.graph.outputs.extend([h_next, body.op("Identity", h_next)])
    *last, sequence = _scan(at, body, _start(at, states, 1, (batch, size)), [projected, cont], size)
    flat = at.op(
        "Gemm",
        at.reshape(sequence, (steps * batch, size)),
        at.blob(used + 1, "weight_ho", (size, size)),
        at.blob(used + 2, "bias_o", (size,), default=0.0),
        transB=1,
    )
    return [at.op("Tanh", at.reshape(flat, (steps, batch, size))), *last]


@layer("LSTMUnit")
def lstm_unit(at: Layer, before: Value, gates: Value, cont: Value) -> list[Value]:
    """One step of an LSTM: the cell (1, N, H) and the hidden state, of the cell before, the gates (1, N, 4 H)
    and cont (1, N)"""
    shape = at.rank(before, 3)
    if dims(gates) != (*shape[:2], 4 * shape[2]) or dims(cont) != shape[:2] or shape[0] != 1:
        raise at.malformed(
            f"bottoms of shapes {shown(shape)}, {shown(dims(gates))} and {shown(dims(cont))}",
            "(1, N, H), (1, N, 4 H) and (1, N)",
        )
    sizes = at.constant(np.array([shape[2]] * 4), "gates")
    parts = at.ops("Split", gates, sizes, shapes=[shape] * 4, axis=2)
    i, f, o = (at.op("Sigmoid", part) for part in parts[:3])
    forgotten = at.op("Mul", at.op("Mul", f, at.reshape(cont, (*shape[:2], 1))), before)
    cell = at.op("Add", forgotten, at.op("Mul", i, at.op("Tanh", parts[3])))
    return [cell, at.op("Mul", o, at.op("Tanh", cell))]
