"""What pictures need beyond the plan: the graph before and after, the scale of every channel, the range of
every weight that a fold touched. Made only when a report is asked for, because it reads weights.

    Drawing      nodes and edges of one graph, with what folding did to each node
    BatchNorm    the scale of every channel of one batch norm: gamma / sqrt(variance + epsilon)
    WeightRange  the largest magnitude of every output channel of one weight, before and after
    Bin          how many gammas of all batch norms lie in a range
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from ..inference.constants import Constants
from ..ir import tensor
from ..ir.graph import attribute, is_op, label
from ..records import dataclass
from .plan import Plan

if TYPE_CHECKING:
    import onnx_ir as ir

BINS = 64  # channels shown one by one; more are gathered
HISTOGRAM = 40  # ranges of gammas
GONE, HOLDS, STAYS, PLAIN = "folded", "holds", "kept", ""
_FLOATS = ("FLOAT", "FLOAT16", "BFLOAT16", "DOUBLE")


@dataclass(frozen=True)
class Drawing:
    """`nodes`: (name, operator, state); `edges`: (from, to, value) by index. Graph inputs and outputs are
    nodes named after their values, with the operators "input" and "output"."""

    nodes: tuple[tuple[str, str, str], ...]
    edges: tuple[tuple[int, int, str], ...]


@dataclass(frozen=True)
class BatchNorm:
    """One batch norm's scale, channel by channel (at most BINS values: the extreme of each bin)."""

    node: str
    channels: int
    scale: tuple[float, ...]
    smallest_variance: float
    epsilon: float


@dataclass(frozen=True)
class WeightRange:
    """Largest magnitudes of one weight: of the whole, and of its quietest and its median output channel;
    before and after. `tiny`: share of elements below float16's smallest normal number, after folding."""

    node: str
    op: str
    before: tuple[float, float, float]
    after: tuple[float, float, float]
    tiny: float


@dataclass(frozen=True)
class Bin:
    """`count` gammas from `low` to `high`."""

    low: float
    high: float
    count: int


@dataclass(frozen=True)
class Detail:
    """Everything that only pictures need. `gammas` is the histogram over the channels of all batch norms: a
    peak at zero tells of channels that may be pruned."""

    before: Drawing
    after: Drawing
    batch_norms: tuple[BatchNorm, ...]
    ranges: tuple[WeightRange, ...]
    gammas: tuple[Bin, ...] = ()


def detail(unfolded: ir.Model, folded: ir.Model, plan: Plan) -> Detail:
    """Look closely at a fold. Reads the weights that changed, one at a time."""
    moments = list(_moments(unfolded))
    return Detail(
        drawing(unfolded, plan),
        drawing(folded, plan),
        tuple(_batch_norm(*one) for one in moments),
        tuple(_ranges(unfolded, folded, plan)),
        _histogram([gamma for _, gamma, _ in moments]),
    )


def drawing(model: ir.Model, plan: Plan) -> Drawing:
    """The main graph as nodes and edges."""
    states = (
        {k.node: STAYS for k in (*plan.kept, *plan.withdrawn)}
        | {name: HOLDS for f in plan.folded for name in f.into}
        | {f.node: GONE for f in plan.folded}
    )
    graph = model.graph
    nodes = [(v.name or "", "input", PLAIN) for v in graph.inputs if v.name not in graph.initializers]
    maker: dict[ir.Value, int] = {
        v: i for i, v in enumerate(v for v in graph.inputs if v.name not in graph.initializers)
    }
    edges: list[tuple[int, int, str]] = []
    for node in graph:
        if is_op(node, "Constant"):
            continue
        maker |= dict.fromkeys(node.outputs, len(nodes))
        edges += [(maker[v], len(nodes), v.name or "") for v in node.inputs if v is not None and v in maker]
        nodes.append((label(node), node.op_type, states.get(label(node), PLAIN)))
    for value in graph.outputs:
        if value in maker:
            edges.append((maker[value], len(nodes), value.name or ""))
            nodes.append((value.name or "", "output", PLAIN))
    return Drawing(tuple(nodes), tuple(dict.fromkeys(edges)))


def _moments(model: ir.Model) -> Iterator[tuple[ir.Node, np.ndarray, np.ndarray]]:
    """(batch norm, gamma, variance) of every one whose parameters are constant, also behind an Identity."""
    constants = Constants(model)
    for node in model.graph:
        if is_op(node, "BatchNormalization") and len(node.inputs) >= 5:
            gamma, variance = (constants.array(node.inputs[i]) for i in (1, 4))
            if gamma is not None and variance is not None and gamma.size == variance.size > 0:
                yield node, gamma.reshape(-1), variance.reshape(-1)


def _batch_norm(node: ir.Node, gamma: np.ndarray, variance: np.ndarray) -> BatchNorm:
    epsilon = float(attribute(node, "epsilon", 1e-5))
    with np.errstate(all="ignore"):  # a negative or NaN variance is shown as what it gives
        scale = gamma / np.sqrt(variance + epsilon)
    return BatchNorm(label(node), gamma.size, _binned(scale), float(variance.min()), epsilon)


def _histogram(gammas: list[np.ndarray]) -> tuple[Bin, ...]:
    flat = np.concatenate(gammas) if gammas else np.empty(0)
    flat = flat[np.isfinite(flat)]
    if not flat.size:
        return ()
    counts, edges = np.histogram(flat, HISTOGRAM)
    ends = [float(edge) for edge in edges]
    return tuple(Bin(low, high, int(n)) for low, high, n in zip(ends, ends[1:], counts, strict=False))


def _binned(values: np.ndarray) -> tuple[float, ...]:
    """The value of largest magnitude in each of at most BINS runs of channels."""
    runs = np.array_split(values, min(BINS, values.size))
    return tuple(float(run[np.argmax(np.abs(run))]) for run in runs)


def _ranges(unfolded: ir.Model, folded: ir.Model, plan: Plan) -> Iterator[WeightRange]:
    wanted = {name for f in plan.folded for name in f.into}
    old = {label(n): n for n in unfolded.graph}
    for node in folded.graph:
        name = label(node)
        if (
            name in wanted
            and name in old
            and (before := _channels(old[name])) is not None
            and (after := _channels(node)) is not None
        ):
            yield WeightRange(name, node.op_type, _summary(before), _summary(after), _tiny(node))


def _summary(per_channel: np.ndarray) -> tuple[float, float, float]:
    return float(per_channel.max()), float(np.median(per_channel)), float(per_channel.min())


def _channels(node: ir.Node) -> Any:
    """The largest magnitude of each output channel of a node's weight; None where it has no constant
    floating-point weight."""
    values = _weight(node)
    if values is None or values.ndim < 2 or not values.size:
        return None
    if is_op(node, "ConvTranspose"):
        groups = int(attribute(node, "group", 1))
        apart = values.reshape(groups, values.shape[0] // groups, values.shape[1], -1)
        return np.abs(apart).max(axis=(1, 3)).reshape(-1)
    axis = 0 if is_op(node, "Conv") or attribute(node, "transB", 0) else values.ndim - 1
    return np.abs(values).max(axis=tuple(i for i in range(values.ndim) if i != axis))


def _weight(node: ir.Node) -> np.ndarray | None:
    held = [v.const_value for v in node.inputs[:2] if v is not None and v.const_value is not None]
    if (
        not is_op(node, "Conv", "ConvTranspose", "Gemm", "MatMul")
        or not held
        or held[-1].dtype.name not in _FLOATS
    ):
        return None
    return tensor.array(held[-1]).astype(np.float32, copy=False)


def _tiny(node: ir.Node) -> float:
    """The share of elements that are not zero, and below float16's smallest normal number."""
    values = _weight(node)
    if values is None or not values.size:
        return 0.0
    magnitude = np.abs(values)
    return float(np.count_nonzero((magnitude > 0) & (magnitude < 2.0**-14)) / values.size)
