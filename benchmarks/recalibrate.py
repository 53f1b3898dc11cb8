"""How long recalibration takes, beside onnxruntime's bare passes over the same inputs, and how much memory
for few and for many inputs.

    python benchmarks/recalibrate.py                      a minute or two for each network
    python benchmarks/recalibrate.py --networks residual --inputs 64 --rounds 5

`bare` are runs of the same parts of the network on the same batches, in sessions of onnxruntime with its
usual optimisations, which give the same values and measure nothing: what remains is the making of parts,
reading, moments, and the comparison of outputs. `whole` are as many runs of the whole network. Both ways run
in turn on one thread; seconds are those of the processor, and the quickest run counts, as what else the
machine does only adds. Memory is what a process of its own takes beside mapped files.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import re
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

ALLOWED = 1.3  # of bare passes
HEAD = (
    "| network | way | passes | bare s | bnfold s | ratio | of whole passes | own MB, few inputs | many |\n"
    "|---|---|" + "---:|" * 7
)


class Net:
    """A network that is being written: values, weights, and what comes next."""

    def __init__(self, side: int) -> None:
        self.nodes: list[Any] = []
        self.weights: list[Any] = []
        self.random = np.random.default_rng(0)
        self.side = side

    def weight(self, values: np.ndarray) -> str:
        name = f"w{len(self.weights)}"
        self.weights.append(numpy_helper.from_array(values.astype(np.float32), name))
        return name

    def op(self, op: str, *inputs: str, **attributes: Any) -> str:
        name = f"{op.lower()}{len(self.nodes)}"
        self.nodes.append(helper.make_node(op, list(inputs), [name], name=name, **attributes))
        return name

    def conv(self, x: str, into: int, out: int, size: int, stride: int = 1, group: int = 1) -> str:
        """A convolution and its batch norm, whose statistics are as fresh as those of a new network."""
        shape = (out, into // group, size, size)
        w = self.weight(self.random.normal(size=shape) * np.sqrt(2 / np.prod(shape[1:])))
        pads = [size // 2] * 4
        y = self.op("Conv", x, w, strides=[stride] * 2, pads=pads, group=group)
        one, zero = np.ones(out), np.zeros(out)
        return self.op("BatchNormalization", y, *map(self.weight, (one, zero, zero, one)))

    def model(self, x: str, channels: int) -> onnx.ModelProto:
        x = self.op("Flatten", self.op("GlobalAveragePool", x))
        y = self.op("Gemm", x, self.weight(self.random.normal(size=(channels, 100)) / np.sqrt(channels)))
        graph = helper.make_graph(
            self.nodes,
            "net",
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 3, self.side, self.side])],
            [helper.make_tensor_value_info(y, TensorProto.FLOAT, ["N", 100])],
            self.weights,
        )
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)


def residual(side: int = 64) -> onnx.ModelProto:
    """ResNet-18: 20 batch norms on 17 levels."""
    net = Net(side)
    x = net.op("Relu", net.conv("x", 3, 64, 7, stride=2))
    x = net.op("MaxPool", x, kernel_shape=[3, 3], strides=[2, 2], pads=[1] * 4)
    into = 64
    for out in (64, 128, 256, 512):
        for block in range(2):
            stride = 2 if out > into else 1
            y = net.op("Relu", net.conv(x, into, out, 3, stride))
            y = net.conv(y, out, out, 3)
            skip = net.conv(x, into, out, 1, stride) if out > into else x
            x = net.op("Relu", net.op("Add", y, skip))
            into = out
            del block
    return net.model(x, into)


def depthwise(side: int = 64) -> onnx.ModelProto:
    """MobileNet's pairs of a depthwise and a pointwise convolution: 27 batch norms behind little arithmetic,
    which is the hard case."""
    net = Net(side)
    x, into = net.op("Relu", net.conv("x", 3, 32, 3, stride=2)), 32
    for out, stride in (
        (64, 1),
        (128, 2),
        (128, 1),
        (256, 2),
        (256, 1),
        (512, 2),
        *[(512, 1)] * 5,
        (1024, 2),
        (1024, 1),
    ):
        x = net.op("Relu", net.conv(x, into, into, 3, stride, group=into))
        x, into = net.op("Relu", net.conv(x, into, out, 1)), out
    return net.model(x, into)


NETWORKS: dict[str, Callable[[], onnx.ModelProto]] = {"residual": residual, "depthwise": depthwise}


def ours(proto: onnx.ModelProto, x: np.ndarray, one_pass: bool) -> float:
    """Seconds of bnfold.recalibrate in memory."""
    import bnfold

    model = bnfold.load(proto)
    start = time.process_time()
    bnfold.recalibrate(model, x, one_pass=one_pass)
    return time.process_time() - start


def parts(proto: onnx.ModelProto, one_pass: bool) -> list[onnx.ModelProto]:
    """What the passes run, each with what it gives as its outputs."""
    from bnfold.ir.graph import ir
    from bnfold.recalibrating.batch_statistics import by_batches
    from bnfold.recalibrating.norms import prepared
    from bnfold.recalibrating.passes import network

    found = prepared(ir.from_proto(proto))
    model, computed = by_batches(found) if one_pass else (found.model, {})
    wanted = [[norm.value for norm in norms] for norms in found.levels]
    if one_pass:
        wanted = [[name for names in computed.values() for name in names]]
    with network(model) as net:
        cut = [net._cut(names) for names in wanted]
        for one in cut:
            onnx.load_external_data_for_model(one, str(net.folder))
    return cut


def bare(models: list[onnx.ModelProto], x: np.ndarray, batch: int) -> float:
    """Seconds that sessions of onnxruntime take for these models, one after the other, over all inputs."""
    import onnxruntime

    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads = 1
    total = 0.0
    for model in models:
        session = onnxruntime.InferenceSession(model.SerializeToString(), settings)
        start = time.process_time()
        for at in range(0, len(x), batch):
            session.run(None, {"x": x[at : at + batch]})
        total += time.process_time() - start
    return total


def own_memory(name: str, rows: int, one_pass: bool) -> float:
    """The largest own memory of a process that recalibrates from a file of so many inputs, in MB."""
    with tempfile.TemporaryDirectory() as folder, multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(_memory, (name, rows, one_pass, folder))


def _memory(name: str, rows: int, one_pass: bool, folder: str) -> float:
    import threading

    import bnfold

    side, path = 48, Path(folder) / "x.npy"
    big = np.lib.format.open_memmap(path, "w+", np.float32, (rows, 3, side, side))
    big[:] = np.random.default_rng(0).normal(size=(1, 3, side, side))
    del big
    proto = NETWORKS[name](side)  # type: ignore[call-arg]
    most, done = 0.0, threading.Event()

    def watch() -> None:
        nonlocal most
        while not done.wait(0.02):
            text = Path("/proc/self/status").read_text()
            most = max(most, int(re.search(r"RssAnon:\s+(\d+)", text)[1]) / 1024)  # type: ignore[index]

    thread = threading.Thread(target=watch)
    thread.start()
    bnfold.recalibrate(proto, str(path), one_pass=one_pass, batch_size=8)
    done.set()
    thread.join()
    return most


def measured(name: str, options: argparse.Namespace) -> Iterator[tuple[str, bool]]:
    """A line of the table for each way, and whether the goal is met."""
    proto = NETWORKS[name]()
    side = proto.graph.input[0].type.tensor_type.shape.dim[2].dim_value
    x = np.random.default_rng(1).normal(size=(options.inputs, 3, side, side)).astype(np.float32)
    batch = min(32, max(1, (1 << 20) // (3 * side * side)))
    for one_pass in (False, True):
        models = parts(proto, one_pass)
        whole = [proto] * len(models)
        found: dict[str, list[float]] = {"bare": [], "ours": [], "whole": []}
        found["whole"].append(bare(whole, x, batch))
        for _ in range(options.rounds):
            found["bare"].append(bare(models, x, batch))
            found["ours"].append(ours(proto, x, one_pass))
        bare_s, ours_s, whole_s = (min(found[key]) for key in ("bare", "ours", "whole"))
        ratio = ours_s / bare_s
        few, many = (own_memory(name, rows, one_pass) for rows in options.rows)
        way = "--one-pass" if one_pass else "layer after layer"
        yield (
            f"| {name} | {way} | {len(models)} | {bare_s:.1f} | {ours_s:.1f} | {ratio:.2f} | "
            f"{ours_s / whole_s:.2f} | {few:.0f} | {many:.0f} |",
            ratio <= ALLOWED,
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--networks", nargs="*", default=list(NETWORKS), choices=list(NETWORKS))
    parser.add_argument("--inputs", type=int, default=1024)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument(
        "--rows", type=int, nargs=2, default=(64, 512), help="of the files that memory is measured on"
    )
    options = parser.parse_args()
    os.environ["BNFOLD_THREADS"] = "1"
    print(HEAD)
    met = []
    for name in options.networks:
        for line, good in measured(name, options):
            print(line, flush=True)
            met.append(good)
    print(f"\ngoal: at most {ALLOWED} times bare passes: {'met' if all(met) else 'missed'}")
    sys.exit(0 if all(met) else 1)


if __name__ == "__main__":
    main()
