"""Models of any size, for measuring: chains of 3x3 Conv-BN-ReLU with healthy statistics, streamed to disk in
a few megabytes of memory.

A file is the concatenation of its protobuf fields, so a graph without weights from onnx.helper and the
tensors after it make one model.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
from onnx import ModelProto, TensorProto, helper

from bnfold.files import protobuf

GRAPH, TENSOR, RAW_DATA = 7, 5, 9  # ModelProto.graph, GraphProto.initializer, TensorProto.raw_data
STATISTICS: dict[str, Callable[[np.random.Generator, int], np.ndarray]] = {
    "gamma": lambda random, n: random.uniform(0.5, 1.5, n),
    "beta": lambda random, n: random.normal(0, 0.1, n),
    "mean": lambda random, n: random.normal(0, 0.1, n),
    "variance": lambda random, n: random.uniform(0.5, 1.5, n),
}


@dataclass(frozen=True)
class Chain:
    """`blocks` times Conv-BN-ReLU on `channels` channels; `external` puts the weights into a file of their
    own."""

    blocks: int
    channels: int
    external: bool = False

    @property
    def nbytes(self) -> int:
        return self.blocks * 4 * (9 * self.channels**2 + 4 * self.channels)


def make(chain: Chain, path: Path) -> list[Path]:
    """Write a model; the files it consists of."""
    skeleton = model_without_weights(chain)
    graph = skeleton.graph.SerializeToString()
    skeleton.ClearField("graph")
    data = path.with_name(path.name + ".data")
    tensors = list(heads(chain, data.name if chain.external else ""))
    size = len(graph) + sum(
        len(protobuf.header(TENSOR, len(head) + inline)) + len(head) + inline for head, inline, _ in tensors
    )
    with path.open("wb") as file, (data if chain.external else Path("/dev/null")).open("wb") as weights:
        file.write(skeleton.SerializeToString() + protobuf.header(GRAPH, size) + graph)
        for head, inline, values in tensors:
            file.write(protobuf.header(TENSOR, len(head) + inline) + head)
            write_values(weights if chain.external else file, values)
    return [path, data] if chain.external else [path]


def write_values(file: BinaryIO, values: Callable[[], np.ndarray]) -> None:
    file.write(memoryview(np.ascontiguousarray(values(), "<f4").reshape(-1)).cast("B"))


def model_without_weights(chain: Chain) -> ModelProto:
    nodes, value = [], "x"
    for block in range(chain.blocks):
        conv, bn, relu = (f"{what}{block}" for what in ("conv", "bn", "relu"))
        statistics = [f"block{block}.{what}" for what in STATISTICS]
        nodes += [
            helper.make_node(
                "Conv", [value, f"block{block}.weight"], [conv], name=conv, pads=[1] * 4, kernel_shape=[3, 3]
            ),
            helper.make_node("BatchNormalization", [conv, *statistics], [bn], name=bn),
            helper.make_node("Relu", [bn], [relu], name=relu),
        ]
        value = relu
    ends = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, chain.channels, 8, 8])
        for name in ("x", value)
    ]
    graph = helper.make_graph(nodes, "chain", ends[:1], ends[1:])
    return helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8, producer_name="benchmark"
    )


def heads(chain: Chain, location: str) -> Iterator[tuple[bytes, int, Callable[[], np.ndarray]]]:
    """For each tensor: its fields up to its values, how many bytes of values follow in the model file, and
    the values."""
    offset = 0
    for block in range(chain.blocks):
        for what in ("weight", *STATISTICS):
            shape = (chain.channels, chain.channels, 3, 3) if what == "weight" else (chain.channels,)
            nbytes = 4 * int(np.prod(shape))
            tensor = TensorProto(name=f"block{block}.{what}", dims=shape, data_type=TensorProto.FLOAT)
            if location:
                tensor.data_location = TensorProto.EXTERNAL
                for key, value in (("location", location), ("offset", str(offset)), ("length", str(nbytes))):
                    tensor.external_data.add(key=key, value=value)
                offset += nbytes
            head = tensor.SerializeToString() + (b"" if location else protobuf.header(RAW_DATA, nbytes))
            yield (
                head,
                0 if location else nbytes,
                lambda what=what, shape=shape, block=block: values_of(what, shape, block),
            )


def values_of(what: str, shape: tuple[int, ...], seed: int) -> np.ndarray:
    """Seeded values: He's initialisation for a kernel, healthy statistics for a batch norm."""
    random = np.random.default_rng([seed, len(what), shape[0]])
    if what == "weight":
        return random.standard_normal(shape, np.float32) * np.float32((2 / (9 * shape[1])) ** 0.5)
    return STATISTICS[what](random, shape[0])
