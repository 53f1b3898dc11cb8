"""What became of a model with preprocessing in it when the preprocessing was done outside: the other proof,
which shares nothing with the one that compares graphs."""

from __future__ import annotations

from ..records import dataclass
from .comparison import Figures


@dataclass(frozen=True, kw_only=True)
class Outside:
    """The written model on what comes in, held against the network as it was read on what numpy makes of the
    same in float64. `samples` were run, `images` of them the user's own; `truth` is what errors are measured
    against. Where nothing could be run, `reason` says why."""

    passed: bool
    samples: int = 0
    images: int = 0
    truth: str = ""
    noise: float = 0.0
    outputs: tuple[Figures, ...] = ()
    reason: str = ""
