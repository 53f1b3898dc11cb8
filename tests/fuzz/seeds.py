"""Tiny inputs for every target, made by code: one for every layer, section and kind of node.

Mutation then begins where the readers branch, and an input stays short enough to be changed in the right
place.
"""

from __future__ import annotations

import ast
import io
import struct
from pathlib import Path

import numpy as np

from ..folding import cubes, nets
from ..models import CONV_BN_RELU, RELU_BN, TWO_BLOCKS, model
from ..reading.caffe.files import caffemodel, layer, normal

TESTS = Path(__file__).resolve().parents[1]
SAMPLES = TESTS.parent / "samples"
INPUT = 'input: "x" input_shape { dim: 1 dim: 4 dim: 6 dim: 6 }\n'
CONVOLUTION = (
    'layer { name: "c" type: "Convolution" bottom: "x" top: "c" convolution_param { num_output: 4 '
    "kernel_size: 3 pad: 1 } }\n"
)
NORMS = (
    'layer { name: "n" type: "BatchNorm" bottom: "c" top: "c" }\n'
    'layer { name: "s" type: "Scale" bottom: "c" top: "c" scale_param { bias_term: true } }\n'
)
V1 = (
    'name: "v1" input: "x" input_dim: 1 input_dim: 4 input_dim: 6 input_dim: 6\n'
    'layers { name: "c" type: CONVOLUTION bottom: "x" top: "c" blobs_lr: 1 convolution_param { '
    "num_output: 2 kernel_size: 3 } }\n"
    'layers { name: "r" type: RELU bottom: "c" top: "c" }\nlayers { name: "p" type: SOFTMAX '
    'bottom: "c" top: "p" }\n'
)
V0 = (
    'name: "v0" input: "x" input_dim: 1 input_dim: 4 input_dim: 6 input_dim: 6\n'
    'layers { layer { name: "d" type: "padding" pad: 1 } bottom: "x" top: "d" }\n'
    'layers { layer { name: "c" type: "conv" num_output: 2 kernelsize: 3 } bottom: "d" top: "c" }\n'
    'layers { layer { name: "q" type: "pool" pool: MAX kernelsize: 2 stride: 2 } bottom: "c" top: "q" }\n'
)
PARAMETERS = {
    "Pooling": "kernel_size: 2 stride: 2",
    "Tile": "tiles: 2",
    "Deconvolution": "num_output: 4 kernel_size: 2 stride: 2",
    "DepthwiseConvolution": "num_output: 4 kernel_size: 3",
    "InnerProduct": "num_output: 3",
    "Interp": "zoom_factor: 2",
    "Reshape": "shape { dim: 0 dim: -1 }",
    "Permute": "order: 0 order: 2 order: 3 order: 1",
    "Slice": "slice_point: 1",
}


def prototxts() -> list[bytes]:
    """One network for every type of layer, the older generations, and the sample."""
    from bnfold.reading.caffe import layers  # noqa: F401
    from bnfold.reading.caffe.registry import LAYERS

    found = [(SAMPLES / "digits.prototxt").read_text(), V1, V0, INPUT + CONVOLUTION + NORMS]
    for type_, kind in LAYERS.items():
        fewest, most = kind.bottoms()
        bottoms = ["x"] * max(fewest, 1 if most is None or most else 0)
        block = f"{kind.params[0]} {{ {PARAMETERS.get(type_, '')} }}" if kind.params else ""
        found.append(INPUT + layer(type_, bottoms, params=block))
    return [text.encode() for text in found]


FIXED_PROTOTXT = (
    INPUT
    + CONVOLUTION
    + NORMS
    + (
        'layer { name: "f" type: "InnerProduct" bottom: "c" top: "f" inner_product_param { '
        "num_output: 3 } }\n"
        'layer { name: "e" type: "PReLU" bottom: "f" top: "e" }\n'
    )
)
BLOBS = {
    "c": [normal(4, 4, 3, 3), normal(4)],
    "n": [normal(4), normal(4) ** 2, np.ones(1, np.float32)],
    "s": [normal(4), normal(4)],
    "f": [normal(3, 144), normal(3)],
    "e": [normal(3)],
}


def caffemodels() -> list[bytes]:
    """Weights of FIXED_PROTOTXT in every form that caffemodels have, and as HDF5."""
    forms = [
        {"generation": g, "values": v, "shapes": s}
        for g, v, s in (
            ("v2", "packed", "modern"),
            ("v1", "packed", "legacy"),
            ("v0", "packed", "legacy"),
            ("v2", "unpacked", "modern"),
            ("v2", "double", "modern"),
            ("v2", "half", "modern"),
            ("v2", "split", "modern"),
        )
    ]
    return [caffemodel(BLOBS, **form) for form in forms] + _h5()


def _h5() -> list[bytes]:
    try:
        import h5py
    except ImportError:
        return []
    file = io.BytesIO()
    with h5py.File(file, "w") as out:
        for name, arrays in BLOBS.items():
            for index, array in enumerate(arrays):
                out.create_dataset(
                    f"data/{name}/{index}", data=array, compression="gzip" if array.ndim > 1 else None
                )
    return [file.getvalue()]


NET = "[net]\nwidth=8\nheight=8\nchannels=3\n"
CONV = "[convolutional]\nbatch_normalize=1\nfilters=4\nsize=3\npad=1\nactivation=leaky\n"
OPTIONS = {
    "route": "layers=-1,0\n",
    "shortcut": "from=-2\nactivation=linear\n",
    "maxpool": "size=2\nstride=2\n",
    "connected": "output=5\n",
    "yolo": "mask=0\nanchors=1,2\nclasses=1\nnum=1\n",
    "region": "anchors=1,2\nclasses=1\nnum=1\ncoords=4\n",
    "reorg": "stride=2\n",
    "upsample": "stride=2\n",
    "scale_channels": "from=-2\n",
    "sam": "from=-2\n",
    "softmax": "groups=1\n",
    "local": "filters=2\nsize=3\n",
    "deconvolutional": "filters=2\nsize=2\nstride=2\n",
    "detection": "classes=1\ncoords=4\nside=1\nnum=1\n",
    "crop": "crop_height=4\ncrop_width=4\n",
    "lstm": "output=4\n",
    "gru": "output=4\n",
    "rnn": "output=4\nhidden=4\n",
    "crnn": "output_filters=2\nhidden_filters=2\n",
    "conv_lstm": "output=2\nsize=3\n",
    "Gaussian_yolo": "mask=0\nanchors=1,2\nclasses=1\nnum=1\n",
}


def cfgs() -> list[bytes]:
    """One network for every section, and the sample."""
    from bnfold.reading.darknet import sections  # noqa: F401
    from bnfold.reading.darknet.schema import SECTIONS

    found = [(SAMPLES / "digits.cfg").read_text(), FIXED_CFG]
    for name in SECTIONS:
        if SECTIONS[name].name != "net":
            before = (
                "[net]\ninputs=12\nbatch=2\ntime_steps=2\n" if SECTIONS[name].recurrent else NET + CONV + CONV
            )
            found.append(f"{before}[{name}]\n{OPTIONS.get(name, '')}")
    return [text.encode() for text in found]


FIXED_CFG = (
    NET + CONV + "[maxpool]\nsize=2\nstride=2\n[convolutional]\nfilters=6\nsize=1\nactivation=linear\n"
    "[connected]\noutput=3\nbatch_normalize=1\n"
)
FLOATS = 3 * 4 + 4 + 108 + 6 + 24 + 3 + 3 * 96 + 9


def weights() -> list[bytes]:
    """Weights of FIXED_CFG with either header, with bytes too many and too few."""
    values = np.random.default_rng(0).uniform(0.1, 0.9, FLOATS).astype("<f4").tobytes()
    heads = [struct.pack("<iiiQ", 0, 2, 5, 64), struct.pack("<iiiI", 0, 1, 0, 64)]
    return [*(head + values for head in heads), heads[0] + values[:-8], heads[0] + values + bytes(4)]


BODIES = """<ir_version: 8, opset_import: ["" : 17]>
agraph (bool c, double[2, 4, 3] x) => (double[2, 4, 3] y)
<double[4] g, double[4] b, double[4] m, double[4] v, double[4, 4, 1] w>
{
  y = If (c) <then_branch = tb () => (double[2, 4, 3] t) { q = Conv (x, w) t = BatchNormalization (q, g, b, m, v) },
              else_branch = eb () => (double[2, 4, 3] e) { e = Relu (x) }>
}
"""
FUNCTION = """<ir_version: 8, opset_import: ["" : 17, "local" : 1]>
agraph (double[2, 4, 3] x) => (double[2, 4, 3] y)
<double[4] g, double[4] b, double[4] m, double[4] v, double[4, 4, 1] w>
{ c = local.Block (x, w)  y = BatchNormalization (c, g, b, m, v) }
<domain: "local", opset_import: ["" : 17]>
Block (x, w) => (y) { c = Conv (x, w) y = Relu (c) }
"""


QUANTIZED = """<ir_version: 8, opset_import: ["" : 17]>
agraph (float[1, 4, 3, 3] x) => (float[1, 4, 3, 3] y)
<float[4] g, float[4] b, float[4] m, float[4] v, int8[4, 4, 1, 1] q, float[4] s, int8[4] z>
{ w = DequantizeLinear <axis = 0> (q, s, z)  c = Conv (x, w)  y = BatchNormalization (c, g, b, m, v) }
"""
ATTENTION = """<ir_version: 8, opset_import: ["" : 17]>
agraph (float[2, 3, 4] x) => (float[2, 3, 4] y)
<float[4, 4] a, float[4, 4] k, float[4] s, float[4] t, float r, int64[4] heads, int64[3] flat>
{ n = Mul (x, s)  p = Add (n, t)  u = MatMul (p, a)  w = MatMul (p, k)  h = Transpose <perm = [0, 2, 1]> (w)  z = MatMul (u, h)
  f = Softmax (z)  e = Div (f, r)  o = MatMul (e, u)  y = Add (o, t) }
"""
SEQUENCES = """<ir_version: 8, opset_import: ["" : 17]>
agraph (seq(float[1, 4, 3, 3]) xs, optional(float[1, 4, 3, 3]) o, int64 i) => (seq(float[1, 4, 3, 3]) ys, bool has, float[1, 4, 3, 3] z)
<float[4] g, float[4] b, float[4] m, float[4] v, float[4, 4, 1, 1] w>
{ x = SequenceAt (xs, i)  c = Conv (x, w)  y = BatchNormalization (c, g, b, m, v)  s = SequenceInsert (xs, y)  ys = Identity (s)
  has = OptionalHasElement (o)  e = OptionalGetElement (o)  n = BatchNormalization (e, g, b, m, v)  z = Conv (n, w) }
"""
MOST_BYTES = 6000


def onnx_models() -> list[bytes]:
    """The nets of the tests of folding (random ones, short), bodies, functions, and what the other tests
    fold."""
    protos = [model(text) for text in (CONV_BN_RELU, RELU_BN, TWO_BLOCKS)]
    protos += [
        make(seed, length)
        for make in (nets.random_net, cubes.random_cube)
        for length in (2, 4)
        for seed in range(30)
    ]
    found = [proto.SerializeToString() for proto in protos]
    found += [
        _filled(text) for text in (BODIES, FUNCTION, QUANTIZED, ATTENTION, SEQUENCES, *_texts_of_tests())
    ]
    return [data for data in dict.fromkeys(found) if data and len(data) <= MOST_BYTES]


def _texts_of_tests() -> list[str]:
    """Every model that stands as ONNX text in the tests of folding and reading: attention, quantised weights,
    branches, odd operators."""
    files = [file for folder in ("folding", "reading") for file in sorted((TESTS / folder).glob("*.py"))]
    texts = [
        node.value
        for file in files
        for node in ast.walk(ast.parse(file.read_text()))
        if isinstance(node, ast.Constant)
    ]
    return [text for text in texts if isinstance(text, str) and text.lstrip().startswith("<ir_version")]


def _filled(text: str) -> bytes:
    """A model of ONNX text whose value infos become initializers; unlike tests.models it may hold bodies and
    functions. Nothing where the text is a template."""
    from onnx import helper, numpy_helper, parser

    try:
        proto = parser.parse_model(text)
    except parser.ParseError:
        return b""
    random = np.random.default_rng(0)
    for value in proto.graph.value_info:
        kind = value.type.tensor_type
        values = random.uniform(0.5, 1.5, [d.dim_value for d in kind.shape.dim])
        proto.graph.initializer.append(
            numpy_helper.from_array(
                values.astype(helper.tensor_dtype_to_np_dtype(kind.elem_type)), value.name
            )
        )
    del proto.graph.value_info[:]
    return bytes(proto.SerializeToString())
