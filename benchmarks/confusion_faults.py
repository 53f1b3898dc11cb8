"""Planted faults: what a gate must refuse, whatever hides it.

A fault changes a right candidate in place, or the pair, and says whether it could. Every one of them changes
what the network computes for some input: what decides is the model, not what a sample shows of it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from .confusion_rewritings import by_hand, graphs, tensors

LINEAR = ("Conv", "ConvTranspose", "Gemm", "MatMul", "LSTM", "FusedConv", "FusedGemm", "FusedMatMul")
ACTIVATIONS = ("Relu", "LeakyRelu", "Tanh", "Sigmoid", "Erf", "Gelu")
NORMS = ("BatchNormalization", "LayerNormalization")


@dataclass
class Pair:
    """Two models, the shapes of the samples that a quick look at them takes, and where faults are drawn
    from."""

    reference: onnx.ModelProto
    candidate: onnx.ModelProto
    random: np.random.Generator
    sizes: dict[str, int]

    def nodes(self, *operators: str) -> list[onnx.NodeProto]:
        return [n for g in graphs(self.candidate.graph) for n in g.node if n.op_type in operators]

    def drawn(self, choices: Sequence[object]) -> object:
        return choices[int(self.random.integers(len(choices)))]


Fault = Callable[[Pair], bool]


def _read(pair: Pair, operators: Sequence[str], place: int) -> list[onnx.TensorProto]:
    """Float weights that nodes of these kinds read at a place."""
    held = tensors(pair.candidate)
    names = dict.fromkeys(
        n.input[place] for n in pair.nodes(*operators) if len(n.input) > place and n.input[place] in held
    )
    return [held[name] for name in names if held[name].data_type in (TensorProto.FLOAT, TensorProto.FLOAT16)]


def _edit(tensor: onnx.TensorProto, change: Callable[[np.ndarray], np.ndarray | None]) -> bool:
    values = numpy_helper.to_array(tensor)
    wide = values.astype(np.float64)
    result = change(wide)
    other = (wide if result is None else result).astype(values.dtype)
    if np.array_equal(other, values):
        return False
    tensor.CopyFrom(numpy_helper.from_array(other, tensor.name))
    return True


def _on_weights(
    change: Callable[[np.ndarray, np.random.Generator], np.ndarray | None],
    operators: Sequence[str] = LINEAR,
    place: int = 1,
    *,
    last: bool = False,
) -> Fault:
    def fault(pair: Pair) -> bool:
        found = _read(pair, operators, place)
        if not found:
            return False
        tensor = found[-1] if last else pair.drawn(found)
        assert isinstance(tensor, onnx.TensorProto)
        return _edit(tensor, lambda values: change(values, pair.random))

    return fault


def _one_entry(values: np.ndarray, random: np.random.Generator) -> None:
    flat = values.reshape(-1)
    large = np.flatnonzero(np.abs(flat) >= np.median(np.abs(flat)))
    flat[random.choice(large)] *= 1.01


def _one_bias(values: np.ndarray, random: np.random.Generator) -> None:
    flat = values.reshape(-1)
    flat[random.integers(flat.size)] += (
        0.05 * np.abs(flat).max() + 1e-3
    )  # beyond what rounding to half can do


def _axis(values: np.ndarray) -> int:
    return next((k for k, size in enumerate(values.shape) if size > 1), 0)


def _faint(values: np.ndarray, random: np.random.Generator) -> None:
    moved = np.moveaxis(values, _axis(values), 0)
    moved[random.integers(len(moved))] *= 1e-3


def _swapped(values: np.ndarray, random: np.random.Generator) -> None:
    moved = np.moveaxis(values, _axis(values), 0)
    if len(moved) > 1:
        one, other = random.choice(len(moved), 2, replace=False)
        moved[[one, other]] = moved[[other, one]]


def _zero_row(values: np.ndarray, random: np.random.Generator) -> None:
    values[random.integers(len(values))] = 0


def _from_fold(**mistake: object) -> Fault:
    """A fold by hand of the reference, with a mistake."""

    def fault(pair: Pair) -> bool:
        wrong = by_hand(pair.reference, **mistake)  # type: ignore[arg-type]
        if wrong is None:
            return False
        pair.candidate.CopyFrom(wrong)
        return True

    return fault


def _epsilon(pair: Pair) -> bool:
    narrow = any(t.data_type == TensorProto.FLOAT16 for t in tensors(pair.reference).values())
    value = 3e-2 if narrow else 1e-6
    return _from_fold(epsilon=value)(pair)


def _epsilon_of_a_norm(pair: Pair) -> bool:
    nodes = pair.nodes(*NORMS)
    if not nodes:
        return False
    node = pair.drawn(nodes)
    assert isinstance(node, onnx.NodeProto)
    kept = [a for a in node.attribute if a.name != "epsilon"]
    del node.attribute[:]
    node.attribute.extend([*kept, helper.make_attribute("epsilon", 3e-2)])
    return True


def _no_bias(pair: Pair) -> bool:
    nodes = [
        n for n in pair.nodes("Conv", "ConvTranspose", "Gemm", "FusedConv") if len(n.input) > 2 and n.input[2]
    ]
    if not nodes:
        return False
    node = pair.drawn(nodes)
    assert isinstance(node, onnx.NodeProto)
    if len(node.input) == 3:
        del node.input[2]
    else:
        node.input[2] = ""
    return True


def _replaced(node: onnx.NodeProto, operator: str, kept: int = 1) -> bool:
    node.op_type = operator
    node.domain = ""
    del node.input[kept:], node.attribute[:]
    return True


def _no_activation(pair: Pair) -> bool:
    nodes = pair.nodes(*ACTIVATIONS)
    return bool(nodes) and _replaced(pair.drawn(nodes), "Identity")  # type: ignore[arg-type]


def _no_skip(pair: Pair) -> bool:
    held = tensors(pair.candidate)
    nodes = [n for n in pair.nodes("Add") if not any(name in held for name in n.input)]
    return bool(nodes) and _replaced(pair.drawn(nodes), "Identity")  # type: ignore[arg-type]


def _slope(pair: Pair) -> bool:
    nodes = pair.nodes("LeakyRelu")
    for node in nodes[:1]:
        del node.attribute[:]
        node.attribute.append(helper.make_attribute("alpha", 0.0101))
    return bool(nodes)


def _joined_in_another_order(pair: Pair) -> bool:
    nodes = [n for n in pair.nodes("Concat") if len(set(n.input)) > 1]
    for node in nodes[:1]:
        node.input[:] = list(reversed(node.input))
    return bool(nodes)


def _scalars(pair: Pair) -> Iterator[onnx.TensorProto]:
    for node in pair.nodes("Constant"):
        for attribute in node.attribute:
            if attribute.name == "value" and attribute.t.data_type in (
                TensorProto.FLOAT,
                TensorProto.FLOAT16,
            ):
                yield attribute.t
    quantised = {n for node in pair.nodes("QuantizeLinear", "DequantizeLinear") for n in node.input[1:]}
    for name, tensor in tensors(pair.candidate).items():
        if tensor.data_type == TensorProto.FLOAT and not tensor.dims and name not in quantised:
            yield tensor


def _constant(pair: Pair) -> bool:
    found = list(_scalars(pair))
    if not found:
        return False
    tensor = pair.drawn(found)
    assert isinstance(tensor, onnx.TensorProto)
    return _edit(tensor, lambda values: values * 1.01)


def _in_double(pair: Pair) -> bool:
    """Constants computed in double where the model computes them in float."""
    for graph in graphs(pair.candidate.graph):
        for node in graph.node:
            if node.op_type == "Ceil":
                del node.input[:]
                node.op_type = "Constant"
                node.attribute.append(
                    helper.make_attribute("value", numpy_helper.from_array(np.float32(4.0)))
                )
                return True
    return False


def _rare_branch(pair: Pair) -> bool:
    """A weight of the branch that no sample takes."""
    for node in pair.nodes("If"):
        body = next(a.g for a in node.attribute if a.name == "then_branch")
        held = tensors(pair.candidate)
        for inner in body.node:
            if inner.op_type in ("Conv", "FusedConv") and inner.input[1] in held:
                return _edit(held[inner.input[1]], lambda values: _one_entry(values, pair.random))
    return False


def _fixed_input(pair: Pair) -> bool:
    """The batch, and height and width, declared as numbers."""
    found = False
    for value in (*pair.candidate.graph.input, *pair.candidate.graph.output):
        for dim in value.type.tensor_type.shape.dim:
            if dim.dim_param in pair.sizes:
                size = pair.sizes[dim.dim_param]
                dim.Clear()
                dim.dim_value = size
                found = True
    return found


def _baked_size(pair: Pair) -> bool:
    """An output brought to the shape that it has at the usual sizes."""
    graph = pair.candidate.graph
    output = graph.output[0]
    dims = [d.dim_value or pair.sizes.get(d.dim_param, 0) for d in output.type.tensor_type.shape.dim]
    free = [d.dim_param for d in output.type.tensor_type.shape.dim if d.dim_param]
    if not free or not all(dims) or len(graph.output) > 1:
        return False
    for node in graph.node:
        node.output[:] = ["before_it" if name == output.name else name for name in node.output]
        node.input[:] = ["before_it" if name == output.name else name for name in node.input]
    graph.initializer.append(numpy_helper.from_array(np.array(dims, np.int64), "baked"))
    graph.node.append(helper.make_node("Reshape", ["before_it", "baked"], [output.name]))
    return True


def _outputs_swapped(pair: Pair) -> bool:
    """Two outputs of one type change their names."""
    outputs = pair.candidate.graph.output
    if len(outputs) < 2 or outputs[0].type != outputs[1].type:
        return False
    names = {outputs[0].name: outputs[1].name, outputs[1].name: outputs[0].name}
    for node in pair.candidate.graph.node:
        node.output[:] = [names.get(name, name) for name in node.output]
        node.input[:] = [names.get(name, name) for name in node.input]
    return True


def _order_of_outputs(pair: Pair) -> bool:
    outputs = pair.candidate.graph.output
    if len(outputs) < 2:
        return False
    swapped = list(reversed(outputs))
    del outputs[:]
    outputs.extend(swapped)
    return True


def _no_default(pair: Pair) -> bool:
    """An input that a caller may override is a constant in the candidate."""
    for tensor in pair.reference.graph.initializer:
        if tensor.data_type == TensorProto.FLOAT and not tensor.dims:
            pair.reference.graph.input.append(
                helper.make_tensor_value_info(tensor.name, tensor.data_type, [])
            )
            return True
    return False


FAULTS: dict[str, Fault] = {
    "weights x 1.5": _on_weights(lambda values, random: values * 1.5),
    "weights x -1": _on_weights(lambda values, random: -values),
    "one weight off by 1 %": _on_weights(_one_entry),
    "one bias off": _on_weights(_one_bias, ("Conv", "ConvTranspose", "Gemm", "FusedConv"), 2),
    "a faint channel": _on_weights(_faint),
    "two rows swapped": _on_weights(_swapped),
    "weights rounded to half": _on_weights(
        lambda values, random: values.astype(np.float16).astype(np.float64)
    ),
    "a zero head": _on_weights(lambda values, random: values * 0, last=True),
    "a row of a table": _on_weights(_zero_row, ("Gather",), 0),
    "epsilon of the fold": _epsilon,
    "epsilon of a norm": _epsilon_of_a_norm,
    "variance without its root": _from_fold(root=False),
    "the norm's bias dropped": _from_fold(bias=False),
    "a bias dropped": _no_bias,
    "an activation dropped": _no_activation,
    "a skip connection dropped": _no_skip,
    "another slope": _slope,
    "joined in another order": _joined_in_another_order,
    "a constant off by 1 %": _constant,
    "constants in double": _in_double,
    "a branch never taken": _rare_branch,
    "sizes declared": _fixed_input,
    "sizes baked in": _baked_size,
    "outputs swapped": _outputs_swapped,
    "outputs in another order": _order_of_outputs,
    "a default dropped": _no_default,
}
