"""What a run is asked for, and how long its stages take: the values that go through the pipeline with the
model.

Job     one file to make
Watch   seconds of each stage
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import field
from pathlib import Path
from typing import Any

from ..errors import UsageError, WouldReplace
from ..files.names import identity
from ..records import dataclass
from ..results.options import FoldOptions, ReadOptions, RecalibrateOptions, TimeOptions, VerifyOptions
from ..results.pair_formats import PairFormat, asked
from ..results.plan import Loaded
from .own_format import check_options, check_source

Say = Callable[[str], None]
Progress = Callable[[str, float], None]


def silent(_: str) -> None:
    """Nobody wants to hear what is being done."""


@dataclass(frozen=True, kw_only=True)
class Job:
    """One model to make. `out` None: `<stem>.folded.onnx` beside the model; a prototxt or cfg asks for the
    model's own format, whose weights go to `weights_out`, or beside it. `verify` None: unchecked. `say` hears
    what is being done, `progress` also which share of it is. `detail` looks closely, for pictures. `others`
    are files that the run is to write besides. `estimate` names the data that statistics are estimated from
    first, if any. `made` is what the default name of the result says."""

    source: Any
    weights: Path | None = None
    out: Path | None = None
    weights_out: Path | None = None
    read: ReadOptions = field(default_factory=ReadOptions)
    fold: FoldOptions = field(default_factory=FoldOptions)
    verify: VerifyOptions | None = field(default_factory=VerifyOptions)
    time: TimeOptions = field(default_factory=TimeOptions)
    external_data: bool = False
    keep_failed: bool = False
    say: Say = silent
    detail: bool = False
    others: tuple[Path, ...] = ()
    estimate: RecalibrateOptions = field(default_factory=RecalibrateOptions)
    made: str = "folded"
    progress: Progress | None = None

    @property
    def target(self) -> Path:
        """Where the result goes."""
        if self.out is not None:
            return self.out
        if isinstance(self.source, (str, os.PathLike)):
            return default_target(Path(self.source), self.made)
        return Path(f"model.{self.made}.onnx")

    @property
    def pair(self) -> PairFormat | None:
        """The pair of files that the result is to be; None for ONNX."""
        return asked(self.out)

    @property
    def data_target(self) -> Path | None:
        """Where the weights of a pair go."""
        return self.weights_out or (self.pair.weights_of(self.target) if self.pair is not None else None)

    @property
    def replaces_source(self) -> bool:
        """Does the result go where the source lies?"""
        return isinstance(self.source, Path) and identity(self.target) == identity(self.source)

    @property
    def refused(self) -> Path:
        """Where a model goes that verification refused and the user wants to keep."""
        return self.target.with_name(f"{self.target.stem}.failed{self.target.suffix}")

    def check_targets(self, loaded: Loaded, system: str = sys.platform) -> None:
        """No file is written twice, and none that was read (the model's files, and inputs of verification):
        an ONNX model alone may be replaced by its own folded self, where the system lets go of a file that is
        read. Raises WouldReplace."""
        inputs = [Path(file) for _, file in self.estimate.files]
        if self.verify is not None:
            inputs += [Path(file) for _, file in self.verify.input_files]
        reads = {identity(file, system): file for file in (*loaded.files, *inputs)}
        may_go = loaded.format == "onnx" and loaded.files and system != "win32"
        itself = identity(loaded.files[0], system) if may_go else None
        met: dict[tuple[object, ...], Path] = {}
        for path in (*self._written(), *self.others):
            key = identity(path, system)
            if key in reads and not (key == itself and path == self.target):
                raise WouldReplace(
                    f"{path} would replace {reads[key]}, which is read", expected="another file"
                )
            if key in met:
                raise WouldReplace(
                    f"{path} and {met[key]} are one file, and both would be written",
                    expected="a file for each",
                )
            met[key] = path

    def _written(self) -> Iterator[Path]:
        """The model's files, and those of a refused one."""
        yield self.target
        if self.data_target is not None:
            yield self.data_target
        if self.keep_failed:
            yield self.refused
            if self.pair is not None:
                yield self.pair.weights_of(self.refused)

    def check_pair(self, format: str) -> None:
        """What is asked for goes with an output in the model's own format. Raises UsageError."""
        if self.pair is None:
            if self.weights_out is not None:
                raise UsageError(
                    f"a file for weights ({self.weights_out.name}), and {self.target.name} carries its own",
                    expected="an output that ends in .prototxt or .cfg",
                )
            return
        check_source(self.pair, format, self.target)
        check_options((self.read, self.fold), self.pair, self.target)
        if self.external_data:
            raise UsageError(
                f"external data beside {self.target.name}", expected="an output that ends in .onnx"
            )


def default_target(model: Path, made: str = "folded") -> Path:
    """`net.prototxt` -> `net.folded.onnx`, beside it."""
    return model.with_name(f"{model.stem}.{made}.onnx")


class Watch:
    """Seconds of each stage, in order; a stage that comes again adds up."""

    def __init__(self) -> None:
        self._since = time.perf_counter()
        self._laps: dict[str, float] = {}

    def lap(self, stage: str) -> None:
        """The time since the last lap belongs to this stage."""
        now = time.perf_counter()
        self._laps[stage] = self._laps.get(stage, 0.0) + now - self._since
        self._since = now

    @property
    def laps(self) -> tuple[tuple[str, float], ...]:
        """(stage, seconds) in order."""
        return tuple(self._laps.items())
