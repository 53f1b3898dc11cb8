"""Faults by the hundred: runs that are killed at random moments, disks that are full at every size. A few of
each run with the tests; `python -m tests.faults` runs as many as it is asked for.

    Kills(...).run(count, seed)     so many runs, each ended by SIGKILL: the command, or one of the processes
                                    that it has started
    fill(...)                       one run on a disk of a size

Each checks after every run that what stands is old and whole or new and whole, and that one sentence says why.
"""

from __future__ import annotations

import random
import shutil
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import onnx
import psutil

from .running import Disk, Ended, bnfold, contents, ended, large, pair, started, whole_pair

CODES = (0, 3, 4, 6, -9, 137)  # of a run that was killed, or of which a process was
_OUTPUTS = (".onnx", ".html", ".result.json", ".data", ".cfg", ".weights")
KINDS = ("fold", "data", "pair", "batch")


@dataclass
class Kills:
    """Runs of one kind: a model of one file, one with external data, a pair in its own format (of two networks
    in turn), a batch. `met` counts how they ended, `left` the hidden folders that SIGKILL left behind."""

    kind: str
    root: Path
    met: Counter[str] = field(default_factory=Counter)
    left: int = 0

    def __post_init__(self) -> None:
        self.out = self.root / "out"
        self.out.mkdir(parents=True)
        self.sources = self.root / "in"
        self.sources.mkdir()
        self.rounds = 0
        self.pairs: set[tuple[bytes, bytes]] = set()
        if self.kind == "pair":
            for index in range(2):
                pair(self.sources / str(index), channels=256, seed=index)
            return
        megabytes = 2 if self.kind == "batch" else 12
        for index in range(3 if self.kind == "batch" else 1):
            large(self.sources / f"net{index}.onnx", megabytes, seed=index)

    def arguments(self) -> tuple[object, ...]:
        """What the next run is called with."""
        if self.kind == "batch":
            return "batch", self.sources, "-o", self.out, "--no-verify", "--force", "--jobs", 2
        if self.kind == "pair":
            self.rounds += 1
            folder = self.sources / str(self.rounds % 2)
            files = (folder / "net.cfg", folder / "net.weights")
            return "fold", *files, "-o", self.out / "out.cfg", "--no-verify", "-q"
        more = ("--external-data",) if self.kind == "data" else ()
        return "fold", self.sources / "net0.onnx", "-o", self.out / "net0.onnx", "--no-verify", "-q", *more

    def run(self, count: int, seed: int) -> None:
        """So many runs, and one more that nobody disturbs."""
        chance = random.Random(seed)
        for _ in range(2 if self.kind == "pair" else 1):
            begun = time.monotonic()
            assert bnfold(*self.arguments()).code == 0
            self.pairs.add(self._pair())
        length = time.monotonic() - begun
        before = contents(self.sources)
        for _ in range(count):
            process = started(*self.arguments(), start_new_session=True)
            time.sleep(chance.uniform(0, 1.05 * length))
            self._kill(process, chance)
            self._judge(ended(process))
        assert contents(self.sources) == before
        assert bnfold(*self.arguments()).code == 0
        self._whole()
        assert not [path for path in self.out.iterdir() if path.name.startswith(".")]

    def _kill(self, process: subprocess.Popen[bytes], chance: random.Random) -> None:
        """The command itself, or one that it has started; not those that clean up behind the others."""
        with suppress(psutil.NoSuchProcess, psutil.ZombieProcess):
            top = psutil.Process(process.pid)
            below = [one for one in top.children(recursive=True) if "tracker" not in " ".join(one.cmdline())]
            chance.choice([top, *below]).kill()

    def _judge(self, run: Ended) -> None:
        assert run.code in CODES, run.err
        assert "Traceback" not in run.err, run.err
        assert "internal error" not in run.err, run.err
        if run.code >= 0:
            assert run.last.startswith("bnfold: "), run.err
        self.met[f"exit code {run.code}"] += 1
        self.left += any(path.name.startswith(".") for path in self.out.iterdir())
        self._whole()

    def _whole(self) -> None:
        """What stands under a name is complete; beside it there are no names but hidden ones."""
        for path in self.out.iterdir():
            assert path.name.startswith(".") or path.name.endswith(_OUTPUTS), path
        assert self._pair() in self.pairs, "text and weights of two runs"
        for path in self.out.glob("*.onnx"):
            if self.kind == "data":
                whole_pair(path)
            onnx.checker.check_model(onnx.load(path))

    def _pair(self) -> tuple[bytes, bytes]:
        text, weights = self.out / "out.cfg", self.out / "out.weights"
        return (text.read_bytes(), weights.read_bytes()) if text.exists() else (b"", b"")


def fill(
    disk: Disk, size: int, arguments: Callable[[Path], Sequence[object]], old: dict[str, bytes]
) -> tuple[int, dict[str, bytes]]:
    """(exit code, what is on the disk afterwards) of one run on a disk of so many bytes, with old files on it."""
    for folder in (disk.before, disk.after):
        shutil.rmtree(folder)
        folder.mkdir()
    for name, data in old.items():
        (disk.before / name).write_bytes(data)
    disk.size = size
    run = disk.bnfold(*arguments(disk.place))
    assert run.code in (0, 3), run.err
    assert "Traceback" not in run.err, run.err
    assert "internal error" not in run.err, run.err
    assert run.last.startswith("bnfold: "), run.err
    assert run.code == 0 or "no space left on device" in run.err, run.err
    return run.code, contents(disk.after)


def sizes(least: int, most: int, count: int) -> list[int]:
    """Sizes of disks in whole pages, from one that holds nothing to one that holds all."""
    return sorted({(least + (most - least) * k // max(1, count - 1)) >> 12 << 12 for k in range(count)})


def tell(text: str) -> None:
    """For __main__.py, whose figures go to the page."""
    print(text, file=sys.stdout, flush=True)
