"""Networks by grammar: random ones that are valid, with one thing wrong (or, now and then, nothing).

Bytes that were changed at random end in the parser; these reach what stands behind it. `prototxt`, `cfg` and
`graph` draw a new network each, which follows from `chance` alone.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

import onnx
from onnx import AttributeProto, GraphProto, ModelProto, NodeProto, TensorProto

from ..random_graphs.generator import random_sample
from ..random_graphs.net import Rejected
from ..reading.caffe.drawn import draw
from . import text

RIGHT = 0.05  # of all networks have nothing wrong
MOST_BYTES = 1 << 14
ODD = (0, -1, -2, 1, 2, 3, 7, 64, 1 << 31, -(1 << 31), 1 << 62, -(1 << 63))


def prototxt(chance: random.Random, words: Sequence[bytes]) -> bytes:
    """A network of Caffe with one token, field or block that is wrong."""
    drawn = draw(chance.randrange(1 << 30), layers=chance.randint(1, 8)).text.encode()
    return drawn if chance.random() < RIGHT else text.changed_prototxt(drawn, chance, words, 1)


def cfg(chance: random.Random, words: Sequence[bytes]) -> bytes:
    """A network of darknet with one line or section that is wrong."""
    drawn = _cfg(chance).encode()
    return drawn if chance.random() < RIGHT else text.changed_cfg(drawn, chance, words, 1)


def graph(chance: random.Random, words: Sequence[bytes]) -> bytes:
    """An ONNX model with one node, name, tensor or attribute that is wrong."""
    while True:
        try:
            model = random_sample(chance.randrange(1 << 30)).model
        except Rejected:  # by what computes its values; another one is drawn
            continue
        if chance.random() >= RIGHT:
            chance.choice(FAULTS)(model, chance)
        data = bytes(model.SerializeToString())
        if len(data) <= MOST_BYTES:
            return data


# darknet: (channels, height, width) of every section, so that what refers to sections fits.

Size = tuple[int, int, int]
ACTIVATIONS = ("linear", "leaky", "relu", "mish", "swish", "logistic", "elu")


def _cfg(chance: random.Random) -> str:
    sizes: list[Size] = []
    size: Size = (chance.choice((1, 3, 4)), 8, 8)
    lines = [f"[net]\nchannels={size[0]}\nheight=8\nwidth=8\nbatch={chance.choice((1, 2))}\n"]
    for _ in range(chance.randint(1, 9)):
        section, size = chance.choice(SECTIONS)(chance, size, sizes)
        sizes.append(size)
        lines.append(section)
    classes = chance.randint(1, 3)
    if chance.random() < 0.5:
        lines.append(f"[convolutional]\nfilters={2 * (5 + classes)}\nsize=1\nactivation=linear\n")
        lines.append(f"[yolo]\nmask=0,1\nanchors=1,2, 3,4, 5,6\nclasses={classes}\nnum=3\n")
    elif chance.random() < 0.5:
        lines.append(
            f"[connected]\noutput={classes}\nbatch_normalize=1\nactivation=relu\n[softmax]\ngroups=1\n"
        )
    return "\n".join(lines)


def _convolution(chance: random.Random, size: Size, sizes: Sequence[Size]) -> tuple[str, Size]:
    filters, kernel, stride = chance.choice((2, 4, 6)), chance.choice((1, 3)), chance.choice((1, 1, 2))
    groups = chance.choice((1, 1, 2)) if size[0] % 2 == 0 and filters % 2 == 0 else 1
    high, wide = ((edge - 1) // stride + 1 for edge in size[1:])
    return (
        f"[convolutional]\nbatch_normalize={chance.randint(0, 1)}\nfilters={filters}\nsize={kernel}\n"
        f"stride={stride}\npad=1\ngroups={groups}\nactivation={chance.choice(ACTIVATIONS)}\n"
    ), (filters, high, wide)


def _pool(chance: random.Random, size: Size, sizes: Sequence[Size]) -> tuple[str, Size]:
    return "[maxpool]\nsize=2\nstride=2\npadding=1\n", (size[0], (size[1] + 1) // 2, (size[2] + 1) // 2)


def _upsample(chance: random.Random, size: Size, sizes: Sequence[Size]) -> tuple[str, Size]:
    return "[upsample]\nstride=2\n", (size[0], 2 * size[1], 2 * size[2])


def _route(chance: random.Random, size: Size, sizes: Sequence[Size]) -> tuple[str, Size]:
    fitting = [at for at, one in enumerate(sizes) if one[1:] == size[1:]]
    if not fitting:
        return _convolution(chance, size, sizes)
    parts = chance.choices(fitting, k=chance.randint(1, 3))
    return f"[route]\nlayers={','.join(map(str, parts))}\n", (sum(sizes[at][0] for at in parts), *size[1:])


def _shortcut(chance: random.Random, size: Size, sizes: Sequence[Size]) -> tuple[str, Size]:
    fitting = [at - len(sizes) for at, one in enumerate(sizes) if one == size]
    if not fitting:
        return _convolution(chance, size, sizes)
    return f"[shortcut]\nfrom={chance.choice(fitting)}\nactivation={chance.choice(ACTIVATIONS)}\n", size


SECTIONS: tuple[Callable[[random.Random, Size, Sequence[Size]], tuple[str, Size]], ...] = (
    _convolution,
    _convolution,
    _pool,
    _upsample,
    _route,
    _shortcut,
)


# ONNX: what one thing may be wrong.


def _node(model: ModelProto, chance: random.Random) -> NodeProto:
    return chance.choice(model.graph.node)


def _names(graph: GraphProto) -> list[str]:
    return [
        *(i.name for i in graph.input),
        *(i.name for i in graph.initializer),
        *(o for n in graph.node for o in n.output),
    ]


def _other_input(model: ModelProto, chance: random.Random) -> None:
    """A node reads another value: of another shape, of its own future, or one that nobody makes."""
    node = _node(model, chance)
    if node.input:
        node.input[chance.randrange(len(node.input))] = chance.choice((*_names(model.graph), "", "nobody"))


def _other_count(model: ModelProto, chance: random.Random) -> None:
    node = _node(model, chance)
    side = chance.choice((node.input, node.output))
    if side and chance.random() < 0.5:
        del side[chance.randrange(len(side))]
    else:
        side.append(chance.choice((*_names(model.graph), "more")))


def _other_operator(model: ModelProto, chance: random.Random) -> None:
    _node(model, chance).op_type = chance.choice(
        (_node(model, chance).op_type, "Conv", "Gemm", "Relu", "Concat", "If", "Nothing", "Reshape", "Slice")
    )


def _no_node(model: ModelProto, chance: random.Random) -> None:
    del model.graph.node[chance.randrange(len(model.graph.node))]


def _node_twice(model: ModelProto, chance: random.Random) -> None:
    model.graph.node.add().CopyFrom(_node(model, chance))


def _attribute(model: ModelProto, chance: random.Random) -> None:
    """A value that does not fit, another type, another name, or none at all."""
    with_some = [node for node in model.graph.node if node.attribute]
    if not with_some:
        _other_input(model, chance)
        return
    node = chance.choice(with_some)
    at = chance.randrange(len(node.attribute))
    one = node.attribute[at]
    match chance.randrange(5):
        case 0:
            del node.attribute[at]
        case 1:
            one.name = chance.choice(("axis", "axes", "pads", "group", "to", "perm", "value", "nothing"))
        case 2:
            one.type = chance.choice(list(AttributeProto.AttributeType.values()))
        case 3:
            node.attribute.add().CopyFrom(one)
        case _:
            _value(one, chance)


def _value(one: AttributeProto, chance: random.Random) -> None:
    if one.ints:
        at = chance.randrange(len(one.ints))
        chance.choice(
            (lambda: one.ints.__setitem__(at, chance.choice(ODD)), lambda: one.ints.append(1), one.ints.pop)
        )()
    elif one.type == AttributeProto.INT:
        one.i = chance.choice(ODD)
    elif one.type == AttributeProto.FLOAT:
        one.f = chance.choice((0.0, -1.0, 1e38, float("nan"), float("inf"), 1e-45))
    elif one.type == AttributeProto.STRING:
        one.s = chance.choice((b"", b"SAME", b"\xff", one.s * 2))
    elif one.type == AttributeProto.GRAPH and one.g.node:
        body = chance.choice((one.g.node, one.g.output, one.g.input))
        if body:
            del body[chance.randrange(len(body))]


def _tensor(model: ModelProto, chance: random.Random) -> None:
    """Other dims, another type, bytes too many or too few, numbers that are none."""
    if not model.graph.initializer:
        _other_input(model, chance)
        return
    one: TensorProto = chance.choice(model.graph.initializer)
    match chance.randrange(5):
        case 0 if one.dims:
            one.dims[chance.randrange(len(one.dims))] = chance.choice(ODD)
        case 1:
            dims = list(one.dims)[::-1] if chance.random() < 0.5 else [1, *one.dims]
            del one.dims[:]
            one.dims.extend(dims)
        case 2:
            one.data_type = chance.choice(list(TensorProto.DataType.values()))
        case 3:
            one.raw_data = one.raw_data[:-1] if chance.random() < 0.5 else one.raw_data + b"\0"
        case _:
            one.raw_data = b"\xff" * len(one.raw_data)


def _declared(model: ModelProto, chance: random.Random) -> None:
    """An input or output of another size, rank, type or name."""
    one = chance.choice([*model.graph.input, *model.graph.output])
    kind = one.type.tensor_type
    match chance.randrange(4):
        case 0 if kind.shape.dim:
            chance.choice(kind.shape.dim).dim_value = chance.choice(ODD)
        case 1:
            kind.shape.dim.add().dim_param = chance.choice(("N", "", "new"))
        case 2:
            kind.elem_type = chance.choice(list(TensorProto.DataType.values()))
        case _:
            one.name = chance.choice((*_names(model.graph), "nobody", ""))


def _version(model: ModelProto, chance: random.Random) -> None:
    if chance.random() < 0.5:
        model.opset_import[0].version = chance.choice((0, 1, 5, 6, 8, 12, 13, 17, 99, 1 << 40))
    else:
        model.opset_import.add().CopyFrom(onnx.helper.make_opsetid("", 9))


FAULTS: tuple[Callable[[ModelProto, random.Random], None], ...] = (
    _other_input,
    _other_input,
    _other_count,
    _other_operator,
    _no_node,
    _node_twice,
    _attribute,
    _attribute,
    _tensor,
    _tensor,
    _declared,
    _version,
)
