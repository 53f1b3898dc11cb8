"""Networks that cannot be: valid ones of the other tests with a few numbers, names, types or operators
changed for odd ones.

odd_model(seed)             an onnx.ModelProto; the same for the same seed
misdeclared_model(seed)     one in which nothing is odd but the shapes that are declared

Blind fuzzing seldom finds a size that fits nowhere, or an operand of the wrong rank, in a file that is
otherwise in order; here every change is one of these. What comes out is read, folded and written, or refused:
never an internal error.
"""

from __future__ import annotations

import random
from functools import cache
from typing import Any

import numpy as np
import onnx
from onnx import numpy_helper, shape_inference

from ..folding import cubes, nets
from ..fuzz import seeds

SIZES = (
    0,
    0,
    1,
    1,
    2,
    3,
    5,
    6,
    7,
    16,
    64,
    1 << 20,
    (1 << 31) - 1,
    1 << 31,
    1 << 32,
    1 << 44,
    1 << 62,
    (1 << 63) - 1,
    -1,
    -2,
    -(1 << 63),
)
SMALL = (0, 1, 2, 3, 5, 8)
OPERATORS = (
    "Add",
    "Mul",
    "Sub",
    "Div",
    "Relu",
    "Neg",
    "Identity",
    "Conv",
    "ConvTranspose",
    "Gemm",
    "MatMul",
    "Concat",
    "Reshape",
    "Transpose",
    "Flatten",
    "Squeeze",
    "Unsqueeze",
    "Gather",
    "Slice",
    "Split",
    "Pad",
    "Tile",
    "Expand",
    "AveragePool",
    "MaxPool",
    "Sum",
    "Where",
    "BatchNormalization",
    "GlobalAveragePool",
    "ReduceMean",
    "ReduceSum",
    "DepthToSpace",
    "SpaceToDepth",
    "Resize",
    "Einsum",
    "Cast",
    "Constant",
    "Shape",
    "DequantizeLinear",
    "QuantizeLinear",
    "InstanceNormalization",
    "PRelu",
    "Clip",
    "Softmax",
)


def odd_model(seed: int) -> onnx.ModelProto:
    chance = random.Random(seed)
    proto = _right_model(seed, chance)
    for _ in range(chance.randint(1, 4)):
        chance.choice(CHANGES)(proto, chance)
    return proto


def misdeclared_model(seed: int) -> onnx.ModelProto:
    """Where nothing is known of the inputs, no rule can tell that the declarations in the middle are wrong:
    they stand."""
    chance = random.Random(seed)
    proto = _right_model(seed, chance)
    try:
        known = {value.name: value for value in shape_inference.infer_shapes(proto).graph.value_info}
    except shape_inference.InferenceError:
        known = {}
    del proto.graph.value_info[:]
    for value in (*proto.graph.input, *proto.graph.output):
        if chance.random() < 0.75:
            value.type.tensor_type.ClearField("shape")
    for name, value in known.items():
        if chance.random() < 0.5:
            proto.graph.value_info.append(
                onnx.helper.make_tensor_value_info(
                    name, value.type.tensor_type.elem_type, _dims(value, chance)
                )
            )
    return proto


def _dims(value: onnx.ValueInfoProto, chance: random.Random) -> list[str | int | None]:
    """Others than the value's: of any rank, or of about the same."""
    if chance.random() < 0.4:
        return [chance.choice((None, "N", 1, 2, 3, 6)) for _ in range(chance.choice((0, 0, 1, 2, 3, 4, 5)))]
    found: list[str | int | None] = [
        dim.dim_param or dim.dim_value for dim in value.type.tensor_type.shape.dim
    ]
    found = [chance.choice((None, "N", 0, 1, 2, 3, 5, 6)) if chance.random() < 0.3 else dim for dim in found]
    return found[1:] if chance.random() < 0.1 else [1, *found] if chance.random() < 0.1 else found


def _right_model(seed: int, chance: random.Random) -> onnx.ModelProto:
    kind = chance.random()
    if kind < 0.3:
        return cubes.random_cube(seed, chance.randint(2, 6))
    if kind < 0.5:
        return nets.random_net(seed, chance.randint(2, 6))
    proto = onnx.ModelProto()
    proto.CopyFrom(chance.choice(_models()))
    return proto


@cache
def _models() -> tuple[onnx.ModelProto, ...]:
    return tuple(onnx.load_from_string(data) for data in seeds.onnx_models())


def _declared_size(proto: onnx.ModelProto, chance: random.Random) -> None:
    values = [*proto.graph.input, *proto.graph.output, *proto.graph.value_info]
    if not values:
        return
    dims = chance.choice(values).type.tensor_type.shape.dim
    if not dims or chance.random() < 0.15:
        dims.add().dim_value = chance.choice(SIZES)
    elif chance.random() < 0.15:
        del dims[chance.randrange(len(dims))]
    else:
        dims[chance.randrange(len(dims))].dim_value = chance.choice(SIZES)


def _constant_number(proto: onnx.ModelProto, chance: random.Random) -> None:
    """One entry of an integer tensor; with it maybe their number."""
    stored = _one(proto.graph.initializer, chance, lambda t: t.data_type in (t.INT32, t.INT64))
    if stored is None:
        return
    flat = numpy_helper.to_array(stored).copy().reshape(-1)
    if chance.random() < 0.2:
        flat = np.resize(flat, chance.choice(SMALL)) if flat.size else flat
    if flat.size:
        bound = np.iinfo(flat.dtype)
        flat[chance.randrange(flat.size)] = min(max(chance.choice(SIZES), bound.min), bound.max)
    stored.CopyFrom(
        numpy_helper.from_array(
            flat.reshape(tuple(stored.dims) if flat.size == np.prod(stored.dims) else -1), stored.name
        )
    )


def _weight_shape(proto: onnx.ModelProto, chance: random.Random) -> None:
    """Another size along one axis, an axis more or an axis less."""
    stored = _one(proto.graph.initializer, chance, lambda t: True)
    if stored is None:
        return
    values, shape = numpy_helper.to_array(stored), list(stored.dims)
    what = chance.random()
    if what < 0.6 and shape:
        shape[chance.randrange(len(shape))] = chance.choice(SMALL)
    elif what < 0.8:
        shape.insert(chance.randint(0, len(shape)), chance.choice((1, 1, 4)))
    elif shape:
        shape.pop(chance.randrange(len(shape)))
    if np.prod(shape) < 5000:
        new = np.resize(values, shape) if values.size else np.zeros(shape, values.dtype)
        stored.CopyFrom(numpy_helper.from_array(new.astype(values.dtype), stored.name))


def _weight_type(proto: onnx.ModelProto, chance: random.Random) -> None:
    stored = _one(proto.graph.initializer, chance, lambda t: t.data_type in (t.FLOAT, t.DOUBLE, t.INT64))
    if stored is not None:
        kind = chance.choice((np.float16, np.float32, np.float64, np.int8, np.uint8, np.int64, np.bool_))
        with np.errstate(all="ignore"):
            stored.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(stored).astype(kind), stored.name))


def _attribute(proto: onnx.ModelProto, chance: random.Random) -> None:
    """One number of an attribute, or their count; or the attribute goes."""
    node = _one(proto.graph.node, chance, lambda n: len(n.attribute) > 0)
    if node is None:
        return
    chosen = chance.randrange(len(node.attribute))
    found = node.attribute[chosen]
    if chance.random() < 0.15:
        del node.attribute[chosen]
    elif found.type == found.INT:
        found.i = chance.choice(SIZES)
    elif found.type == found.INTS and found.ints and chance.random() < 0.7:
        found.ints[chance.randrange(len(found.ints))] = chance.choice(SIZES)
    elif found.type == found.INTS:
        found.ints[:] = [*found.ints, chance.choice(SIZES)] if chance.random() < 0.5 else found.ints[1:]
    elif found.type == found.FLOAT:
        found.f = chance.choice((0.0, -1.0, float("nan"), float("inf"), 1e38))
    elif found.type == found.STRING:
        found.s = chance.choice(
            (
                b"",
                b"SAME_UPPER",
                b"VALID",
                b"NOTSET",
                b"ij,jk->ik",
                b"bi,oi->bo",
                b"...",
                b"ii->i",
                b"CRD",
                b"linear",
            )
        )


def _operand(proto: onnx.ModelProto, chance: random.Random) -> None:
    """A node reads something else, nothing, once more, or less."""
    node = _one(proto.graph.node, chance, lambda n: len(n.input) > 0)
    if node is None:
        return
    before = list(proto.graph.node)[: list(proto.graph.node).index(node)]
    names = [v.name for v in (*proto.graph.input, *proto.graph.initializer)] + [
        name for n in before for name in n.output if name
    ]
    what, place = chance.random(), chance.randrange(len(node.input))
    if what < 0.6 and names:
        node.input[place] = chance.choice(names)
    elif what < 0.7:
        node.input[place] = ""
    elif what < 0.85 and names:
        node.input.append(chance.choice(names))
    else:
        del node.input[-1]


def _operator(proto: onnx.ModelProto, chance: random.Random) -> None:
    node = _one(proto.graph.node, chance, lambda n: True)
    if node is not None:
        node.op_type = chance.choice(OPERATORS)


def _opset(proto: onnx.ModelProto, chance: random.Random) -> None:
    for entry in proto.opset_import:
        if entry.domain == "":
            entry.version = chance.randint(1, 24)


def _one(messages: Any, chance: random.Random, fits: Any) -> Any:
    found = [message for message in messages if fits(message)]
    return chance.choice(found) if found else None


CHANGES = (
    _declared_size,
    _declared_size,
    _declared_size,
    _constant_number,
    _constant_number,
    _weight_shape,
    _weight_shape,
    _weight_type,
    _attribute,
    _attribute,
    _operand,
    _operator,
    _opset,
)
