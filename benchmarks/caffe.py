"""How long a Caffe model takes to read and to fold, and how much memory, beside copying its weights.

    python benchmarks/caffe.py [--dir FOLDER] [--rounds 3]

The model is VGG-16 with batch norms, of random weights: 15 convolutions and products, 13 BatchNorm and Scale pairs, 553 MB. Printed are

    parse     the time of reading a prototxt of 10,000 lines
    walk      the time of finding every blob of the caffemodel
    fold      `bnfold fold --no-verify` beside cp + fsync of the caffemodel and `bnfold --version` (start-up); memory of its own

Figures are medians.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from measure import MB, Run, measured

from bnfold.reading.caffe.caffemodel import load
from bnfold.reading.caffe.prototxt import Text, parse
from bnfold.wire import bytes_field, encode_varint, header

WIDTHS = (64, 64, 0, 128, 128, 0, 256, 256, 256, 0, 512, 512, 512, 0, 512, 512, 512, 0)  # 0: pooling
DENSE = ((4096, 25088), (4096, 4096), (1000, 4096))
LIMIT = 300.0


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--dir", type=Path)
    options.add_argument("--rounds", type=int, default=3)
    chosen = options.parse_args()
    with tempfile.TemporaryDirectory(dir=chosen.dir) as folder:
        network, weights = Path(folder) / "vgg.prototxt", Path(folder) / "vgg.caffemodel"
        size = write(network, weights)
        lines = ten_thousand_lines(network)
        print(f"parse 10,000 lines       {median(chosen.rounds, lambda: parse(Text(lines, network))):6.3f} s")
        print(f"walk {size / MB:.0f} MB              {median(chosen.rounds, lambda: load(weights)):6.3f} s")
        report(network, weights, chosen.rounds)


def report(network: Path, weights: Path, rounds: int) -> None:
    out = network.with_name("out.onnx")
    bnfold = [sys.executable, "-m", "bnfold"]
    fold = [*bnfold, "fold", str(network), str(weights), "-o", str(out), "--no-verify", "-q"]
    copies = median(rounds, lambda: subprocess.run(f"cp '{weights}' '{out}.copy' && sync '{out}.copy'", shell=True, check=True))
    start = median(rounds, lambda: measured([*bnfold, "--version"], LIMIT))
    runs = [measured(fold, LIMIT) for _ in range(rounds)]
    if failure := next((run.failure for run in runs if run.failure), ""):
        raise SystemExit(failure)
    wall = statistics.median(run.wall for run in runs)
    print(f"cp + fsync               {copies:6.2f} s\nstart-up                 {start:6.2f} s\nfold                     {wall:6.2f} s")
    print(f"(fold - start-up) / cp   {(wall - start) / copies:6.2f}\nmemory of its own        {max(run.own for run in runs) / MB:6.0f} MB")


def median(rounds: int, work: Callable[[], object]) -> float:
    """Seconds of the middle run."""
    seconds = []
    for _ in range(rounds):
        begin = time.perf_counter()
        result = work()
        seconds.append(result.wall if isinstance(result, Run) else time.perf_counter() - begin)
    return statistics.median(seconds)


def write(network: Path, weights: Path) -> int:
    """Both files; the size of the second."""
    text, layers = [header_text()], []
    channels, blob = 3, "data"
    for i, width in enumerate(WIDTHS):
        if not width:
            text.append(layer(f"pool{i}", "Pooling", blob, f"p{i}", "pooling_param { kernel_size: 2 stride: 2 }"))
            blob = f"p{i}"
            continue
        text += [
            layer(f"conv{i}", "Convolution", blob, f"c{i}", f"convolution_param {{ num_output: {width} kernel_size: 3 pad: 1 }}"),
            layer(f"bn{i}", "BatchNorm", f"c{i}", f"c{i}", ""),
            layer(f"scale{i}", "Scale", f"c{i}", f"c{i}", "scale_param { bias_term: true }"),
            layer(f"relu{i}", "ReLU", f"c{i}", f"c{i}", ""),
        ]
        layers += [
            (f"conv{i}", [(width, channels, 3, 3), (width,)]),
            (f"bn{i}", [(width,), (width,), (1,)]),
            (f"scale{i}", [(width,), (width,)]),
        ]
        channels, blob = width, f"c{i}"
    for i, (rows, columns) in enumerate(DENSE):
        text.append(layer(f"fc{i}", "InnerProduct", blob, f"f{i}", f"inner_product_param {{ num_output: {rows} }}"))
        layers.append((f"fc{i}", [(rows, columns), (rows,)]))
        blob = f"f{i}"
    network.write_text("".join(text))
    with weights.open("wb") as file:
        for name, shapes in layers:
            file.writelines(stored(name, shapes))
    return weights.stat().st_size


def header_text() -> str:
    return 'name: "vgg" input: "data" input_shape { dim: 1 dim: 3 dim: 224 dim: 224 }\n'


def layer(name: str, type_: str, bottom: str, top: str, params: str) -> str:
    return f'layer {{\n  name: "{name}"\n  type: "{type_}"\n  bottom: "{bottom}"\n  top: "{top}"\n  {params}\n}}\n'


def ten_thousand_lines(network: Path) -> bytes:
    text = network.read_bytes()
    return text * (10_000 // text.count(b"\n") + 1)


def stored(name: str, shapes: list[tuple[int, ...]]) -> Iterator[bytes]:
    """One layer of a caffemodel, piece by piece."""
    draw = np.random.default_rng(len(name))
    blobs = []
    for shape in shapes:
        values = np.abs(draw.standard_normal(shape, np.float32)) * 0.05 + 0.01
        dims = bytes_field(7, bytes_field(1, b"".join(encode_varint(d) for d in shape)))
        blobs.append(bytes_field(7, dims + bytes_field(5, values.tobytes())))
    body = bytes_field(1, name.encode())
    yield header(100, len(body) + sum(map(len, blobs))) + body
    yield from blobs


if __name__ == "__main__":
    main()
