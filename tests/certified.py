"""Folded models with certificates, for tests of the gate: the samples in all three formats, copied so that a
test may spoil them."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

from bnfold.gate import certificate, places
from bnfold.pipeline import pipeline
from bnfold.pipeline.job import Job

SAMPLES = Path(__file__).resolve().parents[1] / "samples"
FORMATS: dict[str, tuple[str, ...]] = {
    "caffe": ("digits.prototxt", "digits.caffemodel"),
    "darknet": ("digits.cfg", "digits.weights"),
    "onnx": ("digits.onnx",),
}


@dataclass(frozen=True)
class Certified:
    """A folded model, its certificate, and what both were made of."""

    model: Path
    certificate: Path
    sources: tuple[Path, ...]


def certify(
    folder: Path, sources: tuple[Path, ...], name: str = "net", *, external_data: bool = False
) -> Certified:
    """Fold the sources into `name`.onnx of the folder, with its certificate."""
    target = folder / f"{name}.onnx"
    job = Job(
        source=sources[0],
        weights=sources[1] if len(sources) > 1 else None,
        out=target,
        external_data=external_data,
        detail=True,
    )
    path = places.beside(target)
    path.write_text(certificate.text(certificate.made(job, pipeline.fold_file(job), path)))
    return Certified(target, path, sources)


def sample(folder: Path, kind: str) -> tuple[Path, ...]:
    """The files of a sample, in a folder of its own."""
    home = folder / kind
    home.mkdir(exist_ok=True)
    return tuple(Path(shutil.copy(SAMPLES / name, home)) for name in FORMATS[kind])


def flip(path: Path, bit: int) -> None:
    """Flip one bit of a file."""
    data = bytearray(path.read_bytes())
    data[bit // 8 % len(data)] ^= 1 << bit % 8
    path.write_bytes(bytes(data))
