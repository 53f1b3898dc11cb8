"""What is asked for, as frozen values that travel as JSON between processes and machines
(`dataclasses.asdict` there, `decoding` back)."""

from __future__ import annotations

from dataclasses import asdict, field
from typing import Any

from ..files.memory import SHORT
from ..gate.policy import Policy
from ..records import dataclass
from ..results.comparison import finite
from ..results.from_json import decoded
from ..results.options import FoldOptions, ReadOptions, RecalibrateOptions, VerifyOptions
from ..version import __version__
from .downloads import Downloads

OUT_OF_MEMORY = (
    SHORT,
    "MemoryError",
    "bad_alloc",
    "Failed to allocate memory",
    "Cannot allocate memory",
)  # whoever says so


@dataclass(frozen=True)
class Task:
    """One model.

    name             of its outputs, relative to `out`, without a suffix: "vision/net"
    network, weights paths or URLs
    out              the folder of all outputs, a path or a URL
    verify           None writes without checking
    policy           what the result must be; None where nothing is demanded
    force            make it again, whatever is there
    listed           where a manifest names it: "zoo.toml:12"
    batch            which run of the command asks: what it made itself, before a worker died, is not an
                     earlier run's
    suffix           of the output; that of a network asks for its own format, with its weights beside it
    downloads        what may be fetched
    estimate         the data that statistics are estimated from first, if any
    shown            (local copy, what it is a copy of): reports name the second
    """

    name: str
    network: str
    weights: str | None
    out: str
    read: ReadOptions = field(default_factory=ReadOptions)
    fold: FoldOptions = field(default_factory=FoldOptions)
    verify: VerifyOptions | None = field(default_factory=VerifyOptions)
    external_data: bool = False
    policy: Policy | None = None
    force: bool = False
    listed: str = ""
    batch: str = ""
    suffix: str = ".onnx"
    downloads: Downloads = field(default_factory=Downloads)
    estimate: RecalibrateOptions = field(default_factory=RecalibrateOptions)
    shown: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class Limits:
    """What one model may take: seconds (None: any time), bytes of its own memory (None: any), threads."""

    seconds: float | None = None
    memory: int | None = None
    threads: int = 1


@dataclass(frozen=True)
class Request:
    """A task on its way to a worker. `work` is the folder for what is unfinished; None: the worker's own
    temporary folder."""

    task: Task
    limits: Limits
    work: str | None = None
    version: str = __version__

    def as_json(self) -> dict[str, Any]:
        """Plain values."""
        from ..reporting.json import plain

        return plain(self)  # type: ignore[no-any-return]

    @staticmethod
    def of(values: Any) -> Request:
        """Back from plain values. Raises Unfit."""
        return decoded(Request, values)  # type: ignore[no-any-return]


def same_choices(task: Task) -> Any:
    """Everything that was chosen for a model and can change what comes out, as plain values."""
    return finite(
        {
            name: value
            for name, value in asdict(task).items()
            if name in ("read", "fold", "verify", "policy", "external_data", "suffix")
            or (name == "estimate" and task.estimate.recalibrate)
        }
    )
