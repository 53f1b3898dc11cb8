"""Older generations of a network, brought to the current one: V0 -> V1 -> V2, then `input` fields -> an Input
layer.

    V0   layers { layer { name type ... } bottom top }    one flat message of parameters, types in lower case
    V1   layers { name type ... }                         types are enum names
    V2   layer  { name type ... }                         types are strings

Everything works on typed nodes and keeps their places, so that an error in an upgraded layer names the line
that was written.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from .prototxt import Message
from .registry import type_of_word
from .schema import Given, Node, typed
from .table import MESSAGES

V1_TYPES = {
    "NONE": "",
    "ABSVAL": "AbsVal",
    "ACCURACY": "Accuracy",
    "ARGMAX": "ArgMax",
    "BNLL": "BNLL",
    "CONCAT": "Concat",
    "CONTRASTIVE_LOSS": "ContrastiveLoss",
    "CONVOLUTION": "Convolution",
    "DATA": "Data",
    "DECONVOLUTION": "Deconvolution",
    "DROPOUT": "Dropout",
    "DUMMY_DATA": "DummyData",
    "EUCLIDEAN_LOSS": "EuclideanLoss",
    "ELTWISE": "Eltwise",
    "EXP": "Exp",
    "FLATTEN": "Flatten",
    "HDF5_DATA": "HDF5Data",
    "HDF5_OUTPUT": "HDF5Output",
    "HINGE_LOSS": "HingeLoss",
    "IM2COL": "Im2col",
    "IMAGE_DATA": "ImageData",
    "INFOGAIN_LOSS": "InfogainLoss",
    "INNER_PRODUCT": "InnerProduct",
    "LRN": "LRN",
    "MEMORY_DATA": "MemoryData",
    "MULTINOMIAL_LOGISTIC_LOSS": "MultinomialLogisticLoss",
    "MVN": "MVN",
    "POOLING": "Pooling",
    "POWER": "Power",
    "RELU": "ReLU",
    "RELU6": "ReLU6",
    "SIGMOID": "Sigmoid",
    "SIGMOID_CROSS_ENTROPY_LOSS": "SigmoidCrossEntropyLoss",
    "SILENCE": "Silence",
    "SLICE": "Slice",
    "SOFTMAX": "Softmax",
    "SOFTMAX_LOSS": "SoftmaxWithLoss",
    "SPLIT": "Split",
    "TANH": "TanH",
    "THRESHOLD": "Threshold",
    "WINDOW_DATA": "WindowData",
}
V0_TYPES = {
    "accuracy": "ACCURACY",
    "bnll": "BNLL",
    "concat": "CONCAT",
    "conv": "CONVOLUTION",
    "data": "DATA",
    "dropout": "DROPOUT",
    "euclidean_loss": "EUCLIDEAN_LOSS",
    "flatten": "FLATTEN",
    "hdf5_data": "HDF5_DATA",
    "hdf5_output": "HDF5_OUTPUT",
    "im2col": "IM2COL",
    "images": "IMAGE_DATA",
    "infogain_loss": "INFOGAIN_LOSS",
    "innerproduct": "INNER_PRODUCT",
    "lrn": "LRN",
    "multinomial_logistic_loss": "MULTINOMIAL_LOGISTIC_LOSS",
    "pool": "POOLING",
    "relu": "RELU",
    "sigmoid": "SIGMOID",
    "softmax": "SOFTMAX",
    "softmax_loss": "SOFTMAX_LOSS",
    "split": "SPLIT",
    "tanh": "TANH",
    "window_data": "WINDOW_DATA",
}
_FILLED = {
    "num_output": "num_output",
    "biasterm": "bias_term",
    "weight_filler": "weight_filler",
    "bias_filler": "bias_filler",
}
_WINDOW = {"pad": "pad", "kernelsize": "kernel_size", "stride": "stride"}
_IMAGES = {"source": "source", "batchsize": "batch_size", "rand_skip": "rand_skip"}
_SHAPED = {"scale": "scale", "meanfile": "mean_file", "cropsize": "crop_size", "mirror": "mirror"}
V0_PARAMETERS = {  # V0 type -> (parameter message of V1, V0 field -> its field) ...
    "conv": [("convolution_param", _FILLED | _WINDOW | {"group": "group"})],
    "im2col": [("convolution_param", _WINDOW)],
    "pool": [("pooling_param", _WINDOW | {"pool": "pool"})],
    "innerproduct": [("inner_product_param", _FILLED)],
    "dropout": [("dropout_param", {"dropout_ratio": "dropout_ratio"})],
    "lrn": [("lrn_param", {"local_size": "local_size", "alpha": "alpha", "beta": "beta", "k": "k"})],
    "concat": [("concat_param", {"concat_dim": "concat_dim"})],
    "data": [("data_param", _IMAGES), ("transform_param", _SHAPED)],
    "images": [
        (
            "image_data_param",
            _IMAGES | {"new_height": "new_height", "new_width": "new_width", "shuffle_images": "shuffle"},
        ),
        ("transform_param", _SHAPED),
    ],
    "hdf5_data": [("hdf5_data_param", {"source": "source", "batchsize": "batch_size"})],
    "window_data": [
        ("window_data_param", {"source": "source", "batchsize": "batch_size"}),
        ("transform_param", _SHAPED),
    ],
    "infogain_loss": [("infogain_loss_param", {"source": "source"})],
}
V0_SPENT = {"name", "type", "blobs", "blobs_lr", "weight_decay", "hdf5_output_param"}
IN_ANOTHER_MESSAGE = {  # C3D 1.0 has the parameters of its layers in messages that others have for images
    ("Convolution3D", "convolution_param"): "convolution3d_param",
    ("Deconvolution3D", "convolution_param"): "convolution3d_param",
    ("Pooling3D", "pooling_param"): "pooling3d_param",
}
OLD_TRANSFORM = ("scale", "mean_file", "crop_size", "mirror")


def upgraded(net: Node) -> list[Node]:
    """The layers of a network, all of the current generation, `input` fields as a layer before them.
    Malformed when generations mix."""
    if net.has("layer") and net.has("layers"):
        raise net.error("layers", "'layers' beside 'layer' in one file", "layers of one generation")
    layers: list[Node] = net.all("layer")
    if net.has("layers"):
        old: list[Node] = net.all("layers")
        if any(layer.has("layer") for layer in old):
            old = list(_without_padding([_from_v0(layer) for layer in old]))
        layers = [_from_v1(layer) for layer in old]
    for layer in layers:
        _moved_transform(layer)
        _moved_message(layer)
    return [*_inputs(net), *layers]


def _from_v0(outer: Node) -> Node:
    """One V0 layer as V1; a padding layer keeps its V0 type, as V1 has none."""
    inner: Node = outer.get("layer") if outer.has("layer") else Node("V0LayerParameter", outer.text, outer.at)
    kind = inner.get("type") or ""
    layer = Node("V1LayerParameter", outer.text, outer.at)
    for name in ("bottom", "top"):
        layer.fields.update({name: outer.fields[name]} if outer.has(name) else {})
    for name in ("name", "blobs", "blobs_lr", "weight_decay"):
        layer.fields.update({name: inner.fields[name]} if inner.has(name) else {})
    if kind == "padding":
        layer.put("type", ("padding", inner.get("pad")), inner.at)
        return layer
    if kind not in V0_TYPES:
        raise inner.error("type", f"V0 layer type '{kind}'", "one of " + ", ".join(V0_TYPES))
    layer.put("type", V0_TYPES[kind], inner.at)
    used = set(V0_SPENT)
    for message, renamed in V0_PARAMETERS.get(kind, ()):
        parameters = Node(MESSAGES["V1LayerParameter"][message][2], inner.text, inner.at)
        for old, new in renamed.items():
            if inner.has(old):
                parameters.fields[new] = inner.fields[old]
        layer.put(message, parameters)
        used.update(renamed)
    if stray := next((name for name in inner.fields if name not in used), None):
        raise inner.error(
            stray,
            f"'{stray}' in a V0 layer of type '{kind}'",
            "a parameter of that type: " + (", ".join(sorted(used - V0_SPENT)) or "it has none"),
        )
    return layer


def _without_padding(layers: list[Node]) -> Iterator[Node]:
    """Padding layers dissolved: their pad goes into the convolution or pooling that reads them."""
    pads: dict[str, tuple[str, int]] = {}
    for layer in layers:
        kind = layer.get("type")
        if isinstance(kind, tuple):
            if len(layer.all("bottom")) != 1 or len(layer.all("top")) != 1:
                raise layer.error(
                    "", "a padding layer with other than one bottom and one top", "one bottom and one top"
                )
            pads[layer.all("top")[0]] = (layer.all("bottom")[0], kind[1])
            continue
        for i, given in enumerate(layer.fields.get("bottom", ())):
            if given.value not in pads:
                continue
            parameters = {"CONVOLUTION": "convolution_param", "POOLING": "pooling_param"}.get(kind)
            if not parameters or len(layer.all("bottom")) != 1:
                raise layer.error(
                    "bottom",
                    f"a padding layer is read by a layer of type {kind}",
                    "a convolution or pooling layer of one bottom",
                )
            source, pad = pads[given.value]
            layer.fields["bottom"][i] = Given(source, given.at)
            layer.get(parameters).fields["pad"] = [Given(pad, given.at)]
        yield layer


def _from_v1(old: Node) -> Node:
    """One V1 layer as V2: the same fields but for its type and the sharing of parameters. A word that only a
    fork has names the type that it is spelled like."""
    layer = Node("LayerParameter", old.text, old.at)
    layer.unknown = old.unknown
    layer.foreign = [entry for entry in old.foreign if entry.name not in ("type", "blob_share_mode")]
    for name, given in old.fields.items():
        if name in MESSAGES["LayerParameter"] and name not in ("type", "param"):
            layer.fields[name] = given
    if old.has("type"):
        word = old.get("type")
        layer.fields["type"] = [Given(V1_TYPES.get(word) or type_of_word(word), old.fields["type"][0].at)]
    names, rates, modes = (
        old.fields.get("param", []),
        old.fields.get("blobs_lr", []),
        old.fields.get("blob_share_mode", []),
    )
    for i in range(max(len(names), len(rates), len(modes))):
        spec = Node("ParamSpec", old.text, old.at)
        for field, values in (("name", names), ("lr_mult", rates), ("share_mode", modes)):
            if i < len(values):
                spec.put(field, values[i].value, values[i].at)
        layer.put("param", spec)
    return layer


def _moved_transform(layer: Node) -> None:
    """Old data layers hold the transformation in their own message: into transform_param with it."""
    for message in ("data_param", "image_data_param", "window_data_param"):
        parameters: Any = layer.get(message)
        if parameters is None or not any(parameters.has(name) for name in OLD_TRANSFORM):
            continue
        if not layer.has("transform_param"):
            layer.put("transform_param", Node("TransformationParameter", layer.text, layer.at))
        for name in OLD_TRANSFORM:
            if parameters.has(name):
                layer.get("transform_param").fields[name] = parameters.fields[name]


def _moved_message(layer: Node) -> None:
    """The parameters of a layer that stand in the message of another type: into its own."""
    for (type_, old), new in IN_ANOTHER_MESSAGE.items():
        if layer.get("type") != type_ or not layer.has(old) or layer.has(new):
            continue
        given: Node = layer.get(old)
        message = MESSAGES["LayerParameter"][new][2]
        moved = typed(Message(given.at, given.unknown), message, given.text)
        for name, values in given.fields.items():
            if name in MESSAGES[message]:
                moved.fields[name] = values
        layer.fields[new] = [Given(moved, layer.fields.pop(old)[0].at)]


def _inputs(net: Node) -> list[Node]:
    """The Input layer that `input` fields stand for. Names without any shape are no inputs (they stand beside
    a real Input layer)."""
    names = net.fields.get("input", [])
    shapes = net.all("input_shape")
    dims = net.fields.get("input_dim", [])
    if not names or not (shapes or dims):
        return []
    have = len(shapes) if shapes else len(dims) // 4
    if have < len(names):
        given = f"{len(shapes)} input_shape" if shapes else f"{len(dims)} input_dim"
        raise net.error(
            "input_shape" if shapes else "input_dim",
            f"{given} for {len(names)} inputs",
            "one input_shape, or four input_dim, for each",
        )
    layer = Node("LayerParameter", net.text, names[0].at)
    layer.put("name", "input")
    layer.put("type", "Input")
    parameters = Node("InputParameter", net.text, names[0].at)
    for i, name in enumerate(names):
        layer.put("top", name.value, name.at)
        shape = shapes[i] if shapes else Node("BlobShape", net.text, dims[4 * i].at)
        if not shapes:
            shape.fields["dim"] = dims[4 * i : 4 * i + 4]
        parameters.put("shape", shape)
    layer.put("input_param", parameters)
    return [layer]
