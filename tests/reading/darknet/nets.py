"""What the darknet tests share: small nets on disk, and their results under onnxruntime with its own
optimisations off."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime as ort

from bnfold.reading.darknet import read
from bnfold.results.options import ReadOptions
from bnfold.results.plan import Loaded

NET = "[net]\nwidth=12\nheight=10\nchannels=3\n"
CONV = "[convolutional]\nfilters=4\nsize=3\npad=1\nactivation=linear\n"  # 4 + 108 floats on 3 channels


def header(major: int = 0, minor: int = 2, revision: int = 0, seen: int = 0, wide: bool = True) -> bytes:
    """A header with 64-bit or 32-bit `seen`."""
    return struct.pack("<iiiQ" if wide else "<iiiI", major, minor, revision, seen)


def floats(count: int, seed: int = 0) -> np.ndarray:
    """Small positive numbers: any of them may be a variance."""
    return np.random.default_rng(seed).uniform(0.1, 0.9, count).astype(np.float32)


def on_disk(
    folder: Path, cfg: str | bytes, arrays: np.ndarray | None = None, head: bytes | None = None
) -> tuple[Path, Path]:
    """(cfg, weights) as files."""
    network, weights = folder / "net.cfg", folder / "net.weights"
    network.write_bytes(cfg if isinstance(cfg, bytes) else cfg.encode())
    weights.write_bytes(
        (header() if head is None else head) + (b"" if arrays is None else arrays.astype("<f4").tobytes())
    )
    return network, weights


def load(
    folder: Path,
    cfg: str | bytes,
    arrays: np.ndarray | None = None,
    head: bytes | None = None,
    **options: object,
) -> Loaded:
    """A net of a cfg and the floats of its weights file; without floats seeded weights."""
    network, weights = on_disk(folder, cfg, arrays, head)
    if arrays is None:
        options.setdefault("random_weights", 1)
    return read(network, None if arrays is None else weights, ReadOptions(**options))


def run(loaded: Loaded, x: np.ndarray, *names: str) -> list[np.ndarray]:
    """Values by name (the outputs by default), on the CPU, with nothing optimised."""
    model = ir.to_proto(loaded.model)
    onnx.checker.check_model(model, full_check=True)
    have = {o.name for o in model.graph.output}
    model.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names if name not in have)
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 3
    session = ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return session.run(list(names) or None, {session.get_inputs()[0].name: x.astype(np.float32)})


def ops(loaded: Loaded) -> list[str]:
    """Operators in order."""
    return [node.op_type for node in loaded.model.graph]


def codes(loaded: Loaded) -> list[str]:
    """Codes of the findings."""
    return [finding.code for finding in loaded.findings]
