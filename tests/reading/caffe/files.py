"""Caffe files in the making: caffemodels byte by byte in every form, and a reader that runs what it read.

caffemodel({"conv": [weight, bias]}, generation="v1", values="unpacked", shapes="legacy")  -> bytes
net = Net(tmp_path, prototxt, {"conv": [...]});  net.run(data=x)["conv"]
"""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime as ort

from bnfold.files.protobuf import bytes_field, encode_varint, key, number_field
from bnfold.reading.caffe import read
from bnfold.results.options import ReadOptions

GENERATIONS = {"v2": (100, 1, 2, 7), "v1": (2, 4, 5, 6), "v0": (2, 1, 2, 50)}


def blob(array, values="packed", shapes="modern"):
    """One BlobProto."""
    array = np.asarray(array, np.float32)
    flat = array.ravel()
    payload = {
        "packed": lambda: bytes_field(5, flat.astype("<f4").tobytes()),
        "unpacked": lambda: b"".join(key(5, 5) + struct.pack("<f", v) for v in flat),
        "split": lambda: (
            bytes_field(5, flat[:1].astype("<f4").tobytes())
            + bytes_field(5, flat[1:].astype("<f4").tobytes())
        ),
        "double": lambda: bytes_field(8, flat.astype("<f8").tobytes()),
        "half": lambda: number_field(10, 2) + bytes_field(12, flat.astype("<f2").tobytes()),
    }[values]()
    if shapes == "legacy":
        return (
            b"".join(number_field(i + 1, d) for i, d in enumerate((1,) * (4 - array.ndim) + array.shape))
            + payload
        )
    return bytes_field(7, bytes_field(1, b"".join(encode_varint(d) for d in array.shape))) + payload


def caffemodel(layers, generation="v2", **form):
    """A whole file; `layers` maps names to lists of arrays, or is a list of such pairs."""
    number, name_field, type_field, blobs_field = GENERATIONS[generation]
    out = bytes_field(1, b"net")
    for name, arrays in layers.items() if isinstance(layers, dict) else layers:
        kind = number_field(type_field, 4) if generation == "v1" else bytes_field(type_field, b"Whatever")
        body = (
            bytes_field(name_field, name.encode())
            + kind
            + b"".join(bytes_field(blobs_field, blob(a, **form)) for a in arrays)
        )
        out += bytes_field(number, bytes_field(1, body) if generation == "v0" else body)
    return out


class Net:
    """A prototxt and its weights, read; `run` gives every named value under onnxruntime."""

    def __init__(self, folder: Path, text: str, layers=None, *, weights: bytes | None = None, **options):
        network = folder / "net.prototxt"
        network.write_text(text)
        path = None
        if layers is not None or weights is not None:
            path = folder / "net.caffemodel"
            path.write_bytes(weights if weights is not None else caffemodel(layers))
        self.loaded = read(network, path, ReadOptions(**options))
        self.model = self.loaded.model
        self.outputs = [value.name for value in self.model.graph.outputs]
        self.inputs = [value.name for value in self.model.graph.inputs]
        self.codes = [finding.code for finding in self.loaded.findings]

    def ops(self):
        """Operators in order."""
        return [node.op_type for node in self.model.graph]

    def run(self, **feeds):
        """Values by name: outputs, and inner values that onnxruntime can show."""
        proto = ir.to_proto(self.model)
        onnx.checker.check_model(proto, full_check=True)
        have = {output.name for output in proto.graph.output}
        names = [name for node in proto.graph.node for name in node.output if name and name not in have]
        proto.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names)
        options = ort.SessionOptions()
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
        options.log_severity_level = 3
        session = ort.InferenceSession(proto.SerializeToString(), options, providers=["CPUExecutionProvider"])
        wanted = [output.name for output in proto.graph.output]
        given = {name: np.asarray(value, np.float32) for name, value in feeds.items()}
        values = session.run(wanted, given)  # before 1.26 views of `given`, which they do not hold
        return {name: np.array(value) for name, value in zip(wanted, values, strict=True)}


def input_layer(name, *dims):
    """An Input layer."""
    shape = " ".join(f"dim: {d}" for d in dims)
    return (
        f'layer {{ name: "{name}_in" type: "Input" top: "{name}" input_param {{ shape {{ {shape} }} }} }}\n'
    )


def layer(type_, bottoms, tops=("y",), params="", name="l"):
    """One layer of the current generation."""
    wires = "".join(f' bottom: "{b}"' for b in bottoms) + "".join(f' top: "{t}"' for t in tops)
    return f'layer {{ name: "{name}" type: "{type_}"{wires} {params} }}\n'


def normal(*shape, seed=0):
    """Seeded float32 numbers."""
    return np.random.default_rng([seed, *shape]).standard_normal(shape).astype(np.float32)


def same(got, want, tolerance=2e-6):
    """Equal up to rounding, relative to the size of what is wanted; NaN and infinity where they are
    wanted."""
    want = np.asarray(want, np.float64)
    assert got.shape == want.shape, f"{got.shape} for {want.shape}"
    finite = np.isfinite(want)
    assert np.array_equal(np.isfinite(got), finite)
    size = np.abs(want[finite]).max(initial=1e-30)
    assert np.abs(got[finite] - want[finite]).max(initial=0) <= tolerance * size


def one_layer(folder, type_, params="", blobs=None, *, x, tops=("y",), **options):
    """The tops of one layer over `x`."""
    net = Net(
        folder,
        input_layer("x", *x.shape) + layer(type_, ["x"], tops, params),
        {"l": blobs} if blobs else {},
        **options,
    )
    found = net.run(x=x)
    return found["y"] if tops == ("y",) else [found[top] for top in tops]
