"""What a run is asked for, and how long its stages take: the values that go through the pipeline with the model.

    Job     one file to make
    Watch   seconds of each stage
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .comparison import VerifyOptions
from .record import FoldOptions, ReadOptions

Say = Callable[[str], None]


def silent(_: str) -> None:
    """Nobody wants to hear what is being done."""


@dataclass(frozen=True)
class Job:
    """One file to make. `out` None: `<stem>.folded.onnx` beside the model. `verify` None: unchecked. `say` hears what is being done.
    `detail` looks closely, for pictures."""

    source: Any
    weights: Path | None = None
    out: Path | None = None
    read: ReadOptions = field(default_factory=ReadOptions)
    fold: FoldOptions = field(default_factory=FoldOptions)
    verify: VerifyOptions | None = field(default_factory=VerifyOptions)
    external_data: bool = False
    keep_failed: bool = False
    say: Say = silent
    detail: bool = False

    @property
    def target(self) -> Path:
        """Where the result goes."""
        if self.out is not None:
            return self.out
        if isinstance(self.source, (str, os.PathLike)):
            return default_target(Path(self.source))
        return Path("model.folded.onnx")


def default_target(model: Path) -> Path:
    """`net.prototxt` -> `net.folded.onnx`, beside it."""
    return model.with_name(f"{model.stem}.folded.onnx")


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
