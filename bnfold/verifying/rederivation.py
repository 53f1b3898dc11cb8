"""Folded weights of half precision, derived again and compared bit by bit.

With 11 or 8 bits a weight hides what an output cannot show: an epsilon of 1e-6 for 1e-5 moves it by a
hundredth of its rounding. But the rounding itself is known: a stored weight is the number nearest to w·scale,
so it is never further from it than half a unit in the last place, and a wrong scale pushes some weights of a
layer over that line. This needs to know the fold, so it covers the plain one (a linear operator whose batch
norm stands right behind it), as an independent derivation that shares no code with the fold engine.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from ..ir.graph import ir, is_op
from ..ir.provenance import FOLDED_KEY
from ..records import dataclass
from ..results.comparison import Figures
from .truth.interpreter import constant
from .truth.number_formats import numpy_type, rounding, tiny

SLACK = 1e-6  # of half a unit in the last place
DOUBLE = 1e-13  # what the order of operations in double may change, relative to the terms of a sum


@dataclass(frozen=True)
class Pair:
    """A linear operator with its batch norm in the reference, and the candidate's operator that holds
    both."""

    linear: ir.Node
    norm: ir.Node
    holder: ir.Node


def rederived(reference: ir.Model, candidate: ir.Model) -> list[Figures]:
    """Figures of every plainly folded weight and bias of 16 bits, under the name of the value that they
    compute; `noise` is the distance to the derived value in half units in the last place, 1 at most where all
    is right."""
    return [figures for pair in pairs(reference, candidate) for figures in _figures(pair)]


def pairs(reference: ir.Model, candidate: ir.Model) -> Iterator[Pair]:
    """The plain folds: same operator, same input, the batch norm's output name."""
    producers = {v.name: node for node in reference.graph for v in node.outputs if v.name}
    for holder in candidate.graph:
        norm = producers.get(holder.outputs[0].name or "")
        if (
            FOLDED_KEY not in holder.metadata_props
            or norm is None
            or not is_op(norm, "BatchNormalization")
            or norm.inputs[0] is None
        ):
            continue
        linear = norm.inputs[0].producer()
        if linear is None or not is_op(linear, "Conv", "ConvTranspose") or not is_op(holder, linear.op_type):
            continue
        same_input = _name(linear, 0) == _name(holder, 0)
        constants = [*linear.inputs[1:], *norm.inputs[1:], *holder.inputs[1:]]
        if same_input and len(norm.inputs) == 5 and all(v is None or _is_constant(v) for v in constants):
            yield Pair(linear, norm, holder)


def _name(node: ir.Node, place: int) -> str | None:
    value = node.inputs[place] if place < len(node.inputs) else None
    return value.name if value is not None else None


def _is_constant(value: ir.Value) -> bool:
    return value.const_value is not None and value.producer() is None


def _figures(pair: Pair) -> Iterator[Figures]:
    weight = pair.linear.inputs[1]
    held = pair.holder.inputs[1]
    if weight is None or held is None or held.const_value is None or held.const_value.dtype.bitwidth != 16:
        return
    scale, shift, terms = _affine(pair)
    w = constant(weight)
    if pair.linear.op_type == "Conv":
        spread = scale.reshape(-1, *(1,) * (w.ndim - 1))
    else:
        group = pair.linear.attributes["group"].as_int() if "group" in pair.linear.attributes else 1
        per = np.repeat(scale.reshape(group, w.shape[1]), w.shape[0] // group, axis=0)
        spread = per.reshape(*per.shape, *(1,) * (w.ndim - 2))
    name = pair.holder.outputs[0].name or ""
    yield _held(name, held, w * spread, np.zeros(()))
    if len(pair.holder.inputs) > 2 and (bias := pair.holder.inputs[2]) is not None:
        yield _held(name, bias, shift, terms)


def _affine(pair: Pair) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(scale, shift with the linear operator's own bias in it, size of the terms that the shift is a sum
    of)."""
    gamma, beta, mean, var = (constant(v) for v in pair.norm.inputs[1:5] if v is not None)
    found = pair.norm.attributes.get("epsilon")
    epsilon = found.as_float() if found is not None else float(np.float32(1e-5))
    with np.errstate(all="ignore"):
        scale = gamma / np.sqrt(var + epsilon)
        bias = pair.linear.inputs[2] if len(pair.linear.inputs) > 2 else None
        own = constant(bias) if bias is not None else np.zeros_like(mean)
        return scale, (own - mean) * scale + beta, (np.abs(own) + np.abs(mean)) * np.abs(scale) + np.abs(beta)


def _held(name: str, value: ir.Value, true: np.ndarray, terms: np.ndarray) -> Figures:
    """What is stored against what was derived, in half units in the last place."""
    assert value.const_value is not None
    kind, stored = value.const_value.dtype, constant(value)
    if stored.shape != true.shape:
        return Figures(
            value=name,
            shape=stored.shape,
            dtype=kind.name.lower(),
            magnitude=0.0,
            reference_error=0.0,
            candidate_error=np.inf,
            reference_rms=0.0,
            candidate_rms=np.inf,
            noise=np.inf,
            roundings=np.inf,
            passed=False,
            reason=f"the shape of '{value.name}' is {stored.shape}, derived is {true.shape}",
        )
    size = np.maximum(np.abs(true), tiny(kind))
    half = np.exp2(np.frexp(size)[1] - 1) * rounding(kind)
    with np.errstate(all="ignore"):
        rounded = true.astype(numpy_type(kind)).astype(np.float64)
        off = np.where(
            stored == rounded,
            np.minimum(np.abs(stored - true) / half, 1.0),
            np.abs(stored - true) / (half + DOUBLE * terms),
        )
    off = np.where(np.isfinite(true) | (stored != rounded), off, 0.0)
    off = np.where(np.isnan(off), np.inf, off)
    worst, wrong = float(off.max(initial=0.0)), int((off > 1 + SLACK).sum())
    magnitude = float(np.abs(true).max(initial=0.0))
    reason = (
        f"{wrong} of {off.size} numbers in '{value.name}' are not the nearest to what the fold must give"
        if wrong
        else ""
    )
    error = float(np.abs(stored - true).max(initial=0.0)) / (magnitude or 1.0)
    rms = float(np.sqrt(np.mean(off**2))) if off.size else 0.0
    return Figures(
        value=name,
        shape=stored.shape,
        dtype=kind.name.lower(),
        magnitude=magnitude,
        reference_error=0.0,
        candidate_error=error,
        reference_rms=0.0,
        candidate_rms=rms * rounding(kind),
        noise=worst,
        roundings=rms,
        passed=not wrong,
        reason=reason,
    )
