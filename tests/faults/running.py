"""Runs of the command line as processes of their own, and what is there before and after them.

bnfold(...)        a run to its end; `started` one that goes on
sentence(ended)    the last line, when the run ended as a run must: no traceback, one last line in the fixed
                   form
contents(folder)   every file in it, hidden ones included, with its bytes
whole_pair(model)  a model and the data file that it names belong together
Disk               a small file system of its own, thrown away with the process that used it
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

ROOT = Path(__file__).resolve().parents[2]
SAMPLES = ROOT / "samples"
COMMAND = (sys.executable, "-m", "bnfold")
UNVERIFIABLE = ("--noise-limit", "1e-6", "--strict")  # no fold passes that
CONV = "[convolutional]\nbatch_normalize=1\nfilters={channels}\nsize=3\npad=1\nactivation=leaky\n"


@dataclass(frozen=True)
class Ended:
    """A run that is over."""

    code: int
    out: str
    err: str

    @property
    def last(self) -> str:
        lines = self.err.strip().splitlines()
        return lines[-1] if lines else ""


def environment(changes: dict[str, str | None] | None = None) -> dict[str, str]:
    """This process's, with the checkout first on the path. None takes a variable away."""
    merged: dict[str, str | None] = {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "PYTHONDONTWRITEBYTECODE": "1",
        **(changes or {}),
    }
    return {key: value for key, value in merged.items() if value is not None}


def started(
    *arguments: object, env: dict[str, str | None] | None = None, cwd: Path = ROOT, **settings: Any
) -> subprocess.Popen[bytes]:
    """`bnfold ...`, or with `command` another beginning of the command line."""
    command = settings.pop("command", COMMAND)
    return subprocess.Popen(
        [*command, *map(os.fsdecode, map(_plain, arguments))],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment(env),
        cwd=cwd,
        **settings,
    )


def ended(process: subprocess.Popen[bytes]) -> Ended:
    out, err = process.communicate(timeout=120)
    return Ended(process.returncode, out.decode(errors="replace"), err.decode(errors="replace"))


def bnfold(*arguments: object, **settings: Any) -> Ended:
    return ended(started(*arguments, **settings))


def python(script: str, *arguments: object, **settings: Any) -> Ended:
    """A script that uses bnfold."""
    return ended(started(*arguments, command=(sys.executable, "-c", script), **settings))


def sentence(run: Ended, code: int) -> str:
    """The last line of a run that ended with this code, in words for people."""
    assert run.code == code, run.err
    assert "Traceback" not in run.err, run.err
    lines = [line for line in run.err.splitlines() if line.startswith("bnfold: ")]
    assert len(lines) == 1, run.err
    assert lines[0] == run.last
    assert "internal error" not in run.last
    return run.last


def contents(folder: Path) -> dict[str, bytes]:
    return {
        str(file.relative_to(folder)): file.read_bytes() if file.is_file() else b""
        for file in sorted(folder.rglob("*"))
    }


def digits(folder: Path, name: str = "net.onnx") -> Path:
    return Path(shutil.copy(SAMPLES / "digits.onnx", folder / name))


def large(path: Path, megabytes: float = 24, seed: int = 0, *, external: bool = False) -> Path:
    """Convolutions with batch norms, of about this size: from a few megabytes on, writing it takes a
    while."""
    rng, channels = np.random.default_rng(seed), 512 if megabytes > 4 else 128
    nodes, tensors, last = [], [], "x"
    for index in range(max(1, round(megabytes * 1e6 / (channels * channels * 9 * 4)))):
        weight = rng.random((channels, channels, 3, 3), np.float32) * np.float32(0.02)
        tensors.append(numpy_helper.from_array(weight, f"w{index}"))
        tensors += [
            numpy_helper.from_array(rng.random(channels, np.float32) + np.float32(0.5), f"{k}{index}")
            for k in "gbmv"
        ]
        nodes.append(
            helper.make_node("Conv", [last, f"w{index}"], [f"c{index}"], name=f"conv{index}", pads=[1] * 4)
        )
        nodes.append(
            helper.make_node(
                "BatchNormalization",
                [f"c{index}", *(f"{k}{index}" for k in "gbmv")],
                [f"n{index}"],
                name=f"bn{index}",
            )
        )
        last = f"n{index}"
    graph = helper.make_graph(
        nodes,
        "large",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, channels, 4, 4])],
        [helper.make_tensor_value_info(last, TensorProto.FLOAT, [1, channels, 4, 4])],
        tensors,
    )
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.save(
        proto,
        path,
        save_as_external_data=external,
        all_tensors_to_one_file=True,
        location=f"{path.stem}.data",
    )
    return path


def data_of(model: bytes) -> str | None:
    """The name of the data file that a model names."""
    tensors = onnx.load_from_string(model).graph.initializer
    names = {entry.value for tensor in tensors for entry in tensor.external_data if entry.key == "location"}
    assert len(names) <= 1
    return names.pop() if names else None


def pair(folder: Path, channels: int = 512, layers: int = 3, seed: int = 0) -> tuple[Path, Path]:
    """A cfg and its weights; with 512 channels 28 MB, which take a while to write."""
    folder.mkdir()
    cfg, weights = folder / "net.cfg", folder / "net.weights"
    cfg.write_text(
        f"# {seed}\n[net]\nwidth=4\nheight=4\nchannels={channels}\n" + layers * CONV.format(channels=channels)
    )
    count = layers * (4 * channels + 9 * channels**2)
    values = np.random.default_rng(seed).random(count, np.float32) + np.float32(0.1)
    weights.write_bytes(bytes([0, 0, 0, 0, 2, 0, 0, 0, 5, 0, 0, 0]) + bytes(8) + values.tobytes())
    return cfg, weights


def whole_pair(model: Path) -> tuple[bytes, bytes]:
    """The bytes of a model and of its data, which is what its name says."""
    read = model.read_bytes()
    name = data_of(read)
    assert name is not None
    held = (model.parent / name).read_bytes()
    assert hashlib.sha256(held).hexdigest()[:16] in name
    return read, held


class Disk:
    """A file system of `size` bytes, filled from a folder; after the run what is on it is copied to `after`.
    It lives in a namespace of the run alone."""

    SCRIPT = """
        mount -t tmpfs -o size="$1" none "$2" && cp -a "$3/." "$2/" || exit 99
        [ "$4" = rw ] || mount -o "remount,$4" "$2" || exit 99
        disk=$2; after=$5; shift 5; "$@"; code=$?
        cp -a "$disk/." "$after/"; exit $code"""

    def __init__(self, root: Path, size: int) -> None:
        self.size = size
        self.place, self.before, self.after = root / "disk", root / "before", root / "after"
        for folder in (self.place, self.before, self.after):
            folder.mkdir()

    def command(self, inner: Sequence[str] = COMMAND, mode: str = "rw") -> tuple[str, ...]:
        """Give it to `started`."""
        return (
            "unshare",
            "-rm",
            "sh",
            "-c",
            self.SCRIPT,
            "sh",
            str(self.size),
            *map(str, (self.place, self.before)),
            mode,
            str(self.after),
            *inner,
        )

    def bnfold(self, *arguments: object, mode: str = "rw", **settings: Any) -> Ended:
        return bnfold(*arguments, command=self.command(mode=mode), **settings)


@pytest.fixture
def disk(tmp_path_factory: pytest.TempPathFactory) -> Disk:
    """64 kB."""
    found = Disk(tmp_path_factory.mktemp("small"), 64 << 10)
    probe = started(command=found.command(("true",)))
    if ended(probe).code:
        pytest.skip("no file system can be mounted here (unshare -rm, tmpfs)")
    return found


def _plain(argument: object) -> str | bytes:
    return argument if isinstance(argument, (str, bytes)) else str(argument)
