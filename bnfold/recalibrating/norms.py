"""The batch norms of a model: which of them can get other statistics, on which level they are, and how they
get them.

    with_statistics   a clone with statistics that are known
    prepared      a clone whose batch norms are independent of each other and work at inference, with the
                  norms and, for each that is left alone, the reason
    Norm          one of them: what it works on, its statistics as they were, how it takes new ones

Functions that hold a batch norm are put in the place of their calls: each call then has statistics of its
own, as what it works on is its own. So do batch norms that share their parameters.

A level is the largest number of batch norms on a way from an input to a batch norm. What stands on one level
does not depend on each other, so a level takes one pass over the inputs.
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Iterable, Iterator, Sequence
from typing import TypeVar

import numpy as np

from ..errors import Mismatch
from ..inference import Shapes
from ..inference.constants import is_float
from ..ir.foreign_types import cloned
from ..ir.functions import all_inlinable, inline
from ..ir.graph import (
    GraphLike,
    Names,
    attribute,
    bodies,
    graphs,
    ir,
    is_op,
    label,
    opset,
    reads,
    source_text,
)
from ..ir.tensor import from_array
from ..records import dataclass
from ..results.recalibration import LeftAlone, Statistics

T = TypeVar("T")
MEAN, VARIANCE = 3, 4  # inputs of a BatchNormalization


class _Refused(Exception):
    """This batch norm keeps its statistics. The text says why."""


@dataclass(eq=False)
class Norm:
    """A batch norm of the main graph. `per_activation`: it has statistics for every activation, not for every
    channel. `shared` are other nodes that had the same statistics."""

    node: ir.Node
    mean: np.ndarray
    variance: np.ndarray
    epsilon: float
    level: int = 0
    per_activation: bool = False
    was_training: bool = False
    shared: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """As reports call it."""
        return label(self.node)

    @property
    def value(self) -> str:
        """The name of what it works on."""
        x = self.node.inputs[0]
        assert x is not None and x.name
        return x.name

    @property
    def statistics(self) -> tuple[str, str]:
        """The names of its statistics."""
        mean, variance = self.node.inputs[MEAN], self.node.inputs[VARIANCE]
        assert mean is not None and variance is not None
        return mean.name or "", variance.name or ""

    def seen(self, values: np.ndarray) -> np.ndarray:
        """What it works on, with the axis of its statistics as the second one."""
        return values.reshape(len(values), -1) if self.per_activation else values

    def take(self, mean: np.ndarray, variance: np.ndarray) -> str:
        """New statistics, in the types and shapes of the old ones; a clause where a type cannot hold them."""
        made = []
        for index, values in ((MEAN, mean), (VARIANCE, variance)):
            value = self.node.inputs[index]
            assert value is not None and value.const_value is not None
            kind, shape = value.const_value.dtype, tuple(value.const_value.shape.numpy())
            with np.errstate(all="ignore"):
                stored = values.reshape(shape).astype(kind.numpy())
            if not np.isfinite(stored.astype(np.float64)).all():
                what = "mean" if index == MEAN else "variance"
                return f"its {what} of {np.abs(values).max():.3g} does not fit {kind.name.lower()}"
            made.append((value, from_array(stored, value.name, kind)))
        for value, tensor in made:
            value.const_value = tensor
        return ""


@dataclass
class Prepared:
    """`model` is ours to change. `norms` are in the order of the graph."""

    model: ir.Model
    norms: list[Norm]
    left: list[LeftAlone]

    @property
    def levels(self) -> list[list[Norm]]:
        """The norms of each level, from the inputs on."""
        found: dict[int, list[Norm]] = defaultdict(list)
        for norm in self.norms:
            found[norm.level].append(norm)
        return [found[level] for level in sorted(found)]


def prepared(model: ir.Model) -> Prepared:
    """A clone, its batch norms, and those that are left alone."""
    copy = cloned(model)
    _inline(copy)
    shapes = Shapes(copy, freeze_initializers=True)
    found, left = [], []
    for graph in graphs(copy):
        for node in graph:
            if is_op(node, "BatchNormalization"):
                try:
                    found.append(_norm(node, copy, shapes))
                except _Refused as why:
                    left.append(LeftAlone(label(node), source_text(node), str(why)))
    _set_apart(copy, found)
    for norm in found:
        _work_at_inference(norm.node, opset(copy))
    _count_levels(copy.graph, {norm.node: norm for norm in found})
    return Prepared(copy, found, left)


def statistics_of(model: ir.Model, nodes: Iterable[str]) -> tuple[Statistics, ...]:
    """The statistics that these batch norms of a recalibrated model have."""
    there = _by_name((label(node), node) for node in model.graph if is_op(node, "BatchNormalization"))
    found = ((name, there[name].popleft()) for name in nodes)
    return tuple(
        Statistics(name, *(_stored(node, index) for index in (MEAN, VARIANCE))) for name, node in found
    )


def _by_name(pairs: Iterable[tuple[str, T]]) -> dict[str, deque[T]]:
    """In the order of the graph: a name may stand there several times."""
    found: dict[str, deque[T]] = defaultdict(deque)
    for name, one in pairs:
        found[name].append(one)
    return found


def _stored(node: ir.Node, index: int) -> tuple[float, ...]:
    value = node.inputs[index]
    assert value is not None and value.const_value is not None
    return tuple(value.const_value.numpy().astype(np.float64).reshape(-1).tolist())


def with_statistics(model: ir.Model, statistics: Iterable[Statistics]) -> ir.Model:
    """What recalibration made of a model, made again from its figures. Raises Mismatch for those of another
    model."""
    found = prepared(model)
    norms = _by_name((norm.name, norm) for norm in found.norms)
    for one in statistics:
        norm = norms[one.node].popleft() if norms[one.node] else None
        if norm is None or not len(one.mean) == len(one.variance) == len(norm.mean):
            raise Mismatch(f"there are statistics of '{one.node}', which is no such batch norm of the model")
        norm.take(np.array(one.mean), np.array(one.variance))
    return found.model


def _inline(model: ir.Model) -> None:
    """Functions that hold a batch norm, themselves or in what they call, in the place of their calls."""
    holding: set[tuple[str, str, str]] = set()
    while True:
        more = {
            identifier
            for identifier, function in model.functions.items()
            if identifier not in holding
            and any(
                is_op(node, "BatchNormalization") or node.op_identifier() in holding
                for graph in _inside(function.graph)
                for node in graph
            )
        }
        if not more:
            break
        holding |= more
    if chosen := holding & all_inlinable(model):
        inline(model, chosen)


def _inside(graph: GraphLike) -> Iterator[GraphLike]:
    yield graph
    for node in graph:
        for body in bodies(node):
            yield from _inside(body)


def _norm(node: ir.Node, model: ir.Model, shapes: Shapes) -> Norm:
    """Raises _Refused for one whose statistics cannot be measured or set."""
    if node.graph is not model.graph:
        inside = any(node.graph is function.graph for function in model.functions.values())
        raise _Refused(
            "it is inside a function that cannot be put in the place of its calls"
            if inside
            else "it is inside the body of an If, Loop or Scan, which may run any number of times"
        )
    if len(node.inputs) < 5 or any(value is None for value in node.inputs[:5]):
        raise _Refused("it has no five inputs")
    version = opset(model)
    used = [v for v in node.outputs[1:] if v.uses() or v.is_graph_output()]
    if used:
        raise _Refused(f"its statistics are used elsewhere, as '{used[0].name}'")
    if shapes.constants.tensor(node.inputs[0]) is not None:
        raise _Refused("its input is a constant")
    statistics = [_statistic(node.inputs[index], shapes) for index in (MEAN, VARIANCE)]
    if statistics[0].shape != statistics[1].shape:
        raise _Refused("its mean and its variance have different shapes")
    return Norm(
        node,
        statistics[0].reshape(-1).astype(np.float64),
        statistics[1].reshape(-1).astype(np.float64),
        float(np.float32(attribute(node, "epsilon", 1e-5))),
        per_activation=version < 9 and not attribute(node, "spatial", 1),
        was_training=_trains(node, version),
    )


def _statistic(value: ir.Value | None, shapes: Shapes) -> np.ndarray:
    found = shapes.constants.array(value)
    if found is None:
        what = "fed" if value is not None and value.is_graph_input() else "computed"
        raise _Refused(f"its statistics ('{value.name if value else ''}') are {what} at run time")
    stored = shapes.constants.tensor(value)
    if stored is not None and not is_float(stored.dtype):
        raise _Refused(f"its statistics are of the type {stored.dtype.name.lower()}")
    return found


def _trains(node: ir.Node, version: int) -> bool:
    """Does it normalise with the statistics of the batch?"""
    if version >= 14:
        return bool(attribute(node, "training_mode", 0))
    if version < 7:
        return not attribute(node, "is_test", 0)
    return any(value.name for value in node.outputs[1:])


def _set_apart(model: ir.Model, norms: Sequence[Norm]) -> None:
    """Statistics of its own for every norm, as initializers; one that has them already keeps their names."""
    names = Names(model)
    sharing: dict[ir.Value, list[Norm]] = defaultdict(list)
    for norm in norms:
        for index in (MEAN, VARIANCE):
            value = norm.node.inputs[index]
            assert value is not None
            sharing[value].append(norm)
    for norm in norms:
        others = [one for index in (MEAN, VARIANCE) for one in sharing[norm.node.inputs[index]]]  # type: ignore[index]
        norm.shared = tuple(dict.fromkeys(one.name for one in others if one is not norm))
    for norm in norms:
        for index, values in ((MEAN, norm.mean), (VARIANCE, norm.variance)):
            _own_initializer(model, norm.node, index, values, names)


def _own_initializer(model: ir.Model, node: ir.Node, index: int, values: np.ndarray, names: Names) -> None:
    value = node.inputs[index]
    assert value is not None
    alone = len(value.uses()) == 1 and not value.is_graph_output()
    if value.is_initializer() and value.graph is model.graph and alone:
        return
    kind = value.dtype or ir.DataType.FLOAT
    stored = value.const_value
    shape = tuple(stored.shape.numpy()) if stored is not None else values.shape
    kind = stored.dtype if stored is not None else kind
    name = names.value(f"{label(node)}/{'mean' if index == MEAN else 'variance'}")
    own = ir.Value(name=name, type=ir.TensorType(kind), shape=ir.Shape(shape))
    own.const_value = from_array(values.reshape(shape).astype(kind.numpy()), name, kind)
    model.graph.register_initializer(own)
    if model.ir_version < 4:  # there every initializer is an input as well
        model.graph.inputs.append(own)
    node.replace_input_with(index, own)
    _drop(value, model)


def _drop(value: ir.Value, model: ir.Model) -> None:
    """Take away what nobody reads any more: an initializer, or nodes that computed it."""
    if value.uses() or value.is_graph_output() or value.is_graph_input():
        return
    maker = value.producer()
    if maker is None:
        if value.name and model.graph.initializers.get(value.name) is value:
            del model.graph.initializers[value.name]
        return
    if any(output.uses() or output.is_graph_output() for output in maker.outputs):
        return
    read = [one for one in maker.inputs if one is not None]
    for index in range(len(maker.inputs)):
        maker.replace_input_with(index, None)
    assert maker.graph is not None
    maker.graph.remove(maker)
    for one in dict.fromkeys(read):
        _drop(one, model)


def _work_at_inference(node: ir.Node, version: int) -> None:
    """Without what says that it normalises with the statistics of the batch; nobody reads its further
    outputs."""
    node.attributes.pop("training_mode", None)
    if version < 7:
        node.attributes["is_test"] = ir.AttrInt64("is_test", 1)
    if len(node.outputs) > 1:
        node.resize_outputs(1)


def _count_levels(graph: ir.Graph, norms: dict[ir.Node, Norm]) -> None:
    depth: dict[ir.Value, int] = defaultdict(int)
    for node in graph:
        below = max((depth[value] for value in reads(node)), default=0)
        if node in norms:
            norms[node].level = below
            below += 1
        for value in node.outputs:
            depth[value] = below
