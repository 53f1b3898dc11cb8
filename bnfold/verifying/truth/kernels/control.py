"""If, Loop and Scan: bodies run by the interpreter itself, in float64 like everything else."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from .windows import Array


def if_(call: Any, condition: Array) -> tuple[Any, ...]:
    """One of two bodies."""
    chosen = "then_branch" if bool(np.asarray(condition).reshape(())) else "else_branch"
    return tuple(call.evaluate(call.get(chosen), ()))


def loop(
    call: Any, trips: Array | None = None, condition: Array | None = None, *carried: Any
) -> tuple[Any, ...]:
    """Carried values, then what every iteration gave, stacked along a new first axis."""
    body = call.get("body")
    limit = None if trips is None else int(np.asarray(trips).reshape(()))
    going = condition is None or bool(np.asarray(condition).reshape(()))
    state, scans, count = list(carried), [], 0
    extra = len(body.outputs) - 1 - len(carried)
    while going and (limit is None or count < limit):
        results = call.evaluate(body, [np.array(count, np.int64), np.array(going), *state])
        going, state = bool(np.asarray(results[0]).reshape(())), results[1 : 1 + len(carried)]
        scans.append(results[1 + len(carried) :])
        count += 1
    stacked = [np.stack([row[i] for row in scans]) if scans else np.zeros((0,)) for i in range(extra)]
    return (*state, *stacked)


def scan(call: Any, *inputs: Array) -> tuple[Any, ...]:
    """One iteration per entry along the scan axes (opset 9 on; opset 8 has a batch axis and goes to the stock
    implementation)."""
    if call.opset < 9:
        raise ValueError("Scan of opset 8 is not evaluated")
    body, scanned = call.get("body"), call.get("num_scan_inputs")
    fixed = len(inputs) - scanned
    state, sequences = list(inputs[:fixed]), inputs[fixed:]
    outs = len(body.outputs) - fixed
    axes, backward = (
        call.get("scan_input_axes") or (0,) * len(sequences),
        call.get("scan_input_directions") or (0,) * len(sequences),
    )
    out_axes, out_backward = (
        call.get("scan_output_axes") or (0,) * outs,
        call.get("scan_output_directions") or (0,) * outs,
    )
    turned = [
        np.flip(np.moveaxis(s, a, 0), 0) if b else np.moveaxis(s, a, 0)
        for s, a, b in zip(sequences, axes, backward, strict=True)
    ]
    rows = []
    for step in range(turned[0].shape[0]):
        results = call.evaluate(body, [*state, *(s[step] for s in turned)])
        state = results[:fixed]
        rows.append(results[fixed:])
    stacked = [np.stack([row[i] for row in rows]) for i in range(outs)]
    ordered = [np.flip(s, 0) if b else s for s, b in zip(stacked, out_backward, strict=True)]
    return (*state, *(np.moveaxis(s, 0, a) for s, a in zip(ordered, out_axes, strict=True)))


TABLE: dict[str, Callable[..., Any]] = {"If": if_, "Loop": loop, "Scan": scan}
