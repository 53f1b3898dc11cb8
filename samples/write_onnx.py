"""The sample network as ONNX, with its batch norms unfolded, node by node through onnx.helper: no exporter
that would fold them for us."""

from __future__ import annotations

import onnx
from onnx import TensorProto, helper, numpy_helper

from .network import (
    CLASSES,
    EPSILON,
    IMAGE,
    INPUT,
    NAME,
    NETWORK,
    SLOPE,
    Conv,
    Dense,
    MaxPool,
    Parameters,
    Shortcut,
    normalised,
)

OPSET, IR_VERSION = 17, 8


def onnx_bytes(parameters: Parameters) -> bytes:
    """The bytes of a complete .onnx file; the batch size is the symbol N."""
    nodes: list[onnx.NodeProto] = []
    value, flat = INPUT, False

    def node(op_type: str, *inputs: str, name: str, **attributes: object) -> str:
        nodes.append(helper.make_node(op_type, list(inputs), [name], name=name, **attributes))
        return name

    for layer in NETWORK:
        if isinstance(layer, Conv):
            value = node(
                "Conv",
                value,
                f"{layer.name}/weight",
                name=layer.name,
                kernel_shape=[layer.size] * 2,
                strides=[layer.stride] * 2,
                pads=[layer.size // 2] * 4,
                group=layer.groups,
            )
        elif isinstance(layer, Dense):
            value = value if flat else node("Flatten", value, name="flatten", axis=1)
            flat = True
            bias = [] if layer.batch_norm else [f"{layer.name}/bias"]
            value = node("Gemm", value, f"{layer.name}/weight", *bias, name=layer.name, transB=1)
        elif isinstance(layer, Shortcut):
            value = node("Add", value, last_value_of(layer.source), name=layer.name)
        elif isinstance(layer, MaxPool):
            value = node(
                "MaxPool", value, name=layer.name, kernel_shape=[layer.size] * 2, strides=[layer.size] * 2
            )
        else:
            value = node("Softmax", value, name=layer.name, axis=1)
        if normalised(layer):
            statistics = [f"{layer.name}/{what}" for what in ("gamma", "beta", "mean", "variance")]
            value = node("BatchNormalization", value, *statistics, name=f"{layer.name}/bn", epsilon=EPSILON)
        slope = SLOPE.get(getattr(layer, "activation", "linear"))
        if slope is not None:
            kind, options = ("LeakyRelu", {"alpha": slope}) if slope else ("Relu", {})
            value = node(kind, value, name=f"{layer.name}/act", **options)

    graph = helper.make_graph(
        nodes,
        NAME,
        [helper.make_tensor_value_info(INPUT, TensorProto.FLOAT, ["N", *IMAGE])],
        [helper.make_tensor_value_info(value, TensorProto.FLOAT, ["N", CLASSES])],
        [numpy_helper.from_array(array, name) for name, array in parameters.items()],
    )
    model = helper.make_model(
        graph,
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
        producer_name="bnfold samples",
    )
    onnx.checker.check_model(model, full_check=True)
    return model.SerializeToString(deterministic=True)


def last_value_of(name: str) -> str:
    """The name of a layer's result, after its batch norm and activation."""
    layer = next(layer for layer in NETWORK if layer.name == name)
    if getattr(layer, "activation", "linear") in SLOPE:
        return f"{name}/act"
    return f"{name}/bn" if normalised(layer) else name


def parameters_of(model: bytes) -> Parameters:
    """The parameters that `onnx_bytes` stored."""
    return {
        tensor.name: numpy_helper.to_array(tensor)
        for tensor in onnx.load_from_string(model).graph.initializer
    }
