"""The certificate of a fold, as frozen values: the JSON document is these dataclasses, field by field.

Made, written and read by gate/certificate.py.
"""

from __future__ import annotations

from ..records import dataclass
from .baking import Baked
from .comparison import Figures, Proof
from .options import FoldOptions, ReadOptions
from .outside import Outside
from .plan import Folded, Kept
from .recalibration import Statistics

SCHEMA = "bnfold.certificate/1"


@dataclass(frozen=True)
class FileEntry:
    """One file: its path from the certificate's folder, SHA-256 in hexadecimal, bytes."""

    path: str
    sha256: str
    size: int


@dataclass(frozen=True)
class Fold:
    """One fold with its evidence; `condition` says in words why it is exact, `epsilon` is that of a batch
    norm."""

    fold: Folded
    condition: str
    epsilon: float | None = None


@dataclass(frozen=True)
class Measured:
    """What one execution provider computed."""

    provider: str
    engine: str
    passed: bool
    noise: float
    max_error: float
    outputs: tuple[Figures, ...]


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """What verification measured, without what differs from run to run. `files` are the user's own inputs;
    `proof` is None in certificates of versions that proved nothing, too."""

    equivalent: bool
    truth: str
    seed: int
    samples: int
    noise_limit: float
    inputs: tuple[tuple[str, str], ...]
    files: tuple[FileEntry, ...]
    providers: tuple[Measured, ...]
    folds: tuple[Figures, ...]
    environment: tuple[tuple[str, str], ...]
    proof: Proof | None = None


@dataclass(frozen=True, kw_only=True)
class Estimated:
    """What was estimated from data before the fold, or `alone`, without one. Of the statistics here and the
    sources together every weight follows; that the data have these statistics is a claim. `files` are the
    data, a folder of images as one; of arrays in memory there are none."""

    note: str
    alone: bool
    inputs: int
    one_pass: bool
    files: tuple[FileEntry, ...]
    statistics: tuple[Statistics, ...]


@dataclass(frozen=True, kw_only=True)
class Certificate:
    """Everything. `output` is the model first, then its data files, by name beside it. `verification` is None
    where nothing was folded (`unchanged`: the output holds the same graph and bytes), or where nobody
    verified. `recalibrated` is None where the statistics are the sources'. `baked` is the preprocessing that
    became a part of the model, `outside` what it gives where that is done outside."""

    schema: str
    made: str
    version: str
    libraries: tuple[tuple[str, str], ...]
    format: str
    dialect: str
    dialect_reason: str
    sources: tuple[FileEntry, ...]
    weights_apart: bool
    output: tuple[FileEntry, ...]
    read: ReadOptions
    fold: FoldOptions
    folded: tuple[Fold, ...]
    kept: tuple[Kept, ...]
    withdrawn: tuple[Kept, ...]
    merged: tuple[str, ...]
    unchanged: bool
    verification: Evidence | None
    baked: tuple[Baked, ...] = ()
    outside: Outside | None = None
    digest: str = ""
    recalibrated: Estimated | None = None
