"""The forks of darknet, what only one of them has, and the choice between them.

    alexeyab        AlexeyAB's fork: sqrt(variance + 1e-5), on CPU and GPU
    hank-ai         hank-ai's, which goes on from it: the same layers, a stricter cfg (hank_ai.py, syntax.py)
    pjreddie        the original, as its GPU code: sqrt(variance + 1e-5); nets were trained with it
    pjreddie-cpu    the original, as its CPU code: sqrt(variance) + 1e-6

Evidence counts in tiers: a section that only one fork knows (the other would stop), then an option or
activation that changes results, then a training option, then the revision that the fork's writer puts into a
weights file. hank-ai's files are not told from AlexeyAB's, so that dialect is never chosen unasked; where it
would read a line otherwise, a warning says so.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum

import numpy as np

from ...errors import UsageError
from ...records import dataclass
from ...results.options import spelled
from ...results.value_kinds import cannot_be, did_you_mean
from .syntax import CLASSIC, HANK_AI, Syntax

EPSILON = 1e-5  # inside the root: AlexeyAB (src/blas.c, src/blas_kernels.cu) and pjreddie's GPU code
EPSILON_OUTSIDE = 1e-6  # outside the root: pjreddie's CPU code (src/blas.c, normalize_cpu)
ALEXEYAB_REVISION = 5  # AlexeyAB's writer puts 0.2.5 into the header, pjreddie's 0.2.0


class Fork(StrEnum):
    """Whose code."""

    PJREDDIE = "pjreddie"
    ALEXEYAB = "alexeyab"


BOTH = (Fork.PJREDDIE, Fork.ALEXEYAB)


@dataclass(frozen=True)
class Dialect:
    """A fork, its formula of batch norm, and how it reads a cfg."""

    name: str
    fork: Fork
    outside: bool = False
    syntax: Syntax = CLASSIC

    @property
    def is_hank_ai(self) -> bool:
        """Is it the fork that stops at what it does not know?"""
        return self.syntax is HANK_AI

    @property
    def whose(self) -> str:
        """Whose darknet, for messages."""
        return self.name if self.is_hank_ai else self.fork.value

    @property
    def epsilon(self) -> float:
        """The epsilon attribute of BatchNormalization; zero where the variance itself carries the formula."""
        return 0.0 if self.outside else EPSILON

    def variance(self, rolling: np.ndarray) -> np.ndarray:
        """The variance to store, float32, so that sqrt(variance + self.epsilon) is this dialect's divisor.

        For sqrt(v) + 1e-6 that is its square, computed in float64: one rounding, half a unit in the last
        place of a float32. A negative variance gives NaN, as it does in darknet.
        """
        if not self.outside:
            return rolling
        with np.errstate(invalid="ignore"):
            return np.square(np.sqrt(rolling.astype(np.float64)) + EPSILON_OUTSIDE).astype(np.float32)


DIALECTS = {
    d.name: d
    for d in (
        Dialect("alexeyab", Fork.ALEXEYAB),
        Dialect("hank-ai", Fork.ALEXEYAB, syntax=HANK_AI),
        Dialect("pjreddie", Fork.PJREDDIE),
        Dialect("pjreddie-cpu", Fork.PJREDDIE, outside=True),
    )
}
TIERS = ("section", "option", "training")


@dataclass(frozen=True)
class Evidence:
    """Something that only one fork has: `what` at `where`."""

    fork: Fork
    tier: str
    where: str
    what: str


@dataclass(frozen=True)
class Choice:
    """A dialect, why, and whether another one may be tried when the weights file does not fit this one."""

    dialect: Dialect
    reason: str
    firm: bool


def named_dialect(name: str) -> Choice | None:
    """The dialect that the user named; None for "auto". Errors: UsageError for an unknown name."""
    if name == "auto":
        return None
    if name not in DIALECTS:
        raise UsageError(
            f"{cannot_be(spelled('dialect'), name)} for a darknet network",
            expected=f"one of auto, {', '.join(DIALECTS)}",
            way_out=did_you_mean(name, DIALECTS),
        )
    return Choice(DIALECTS[name], "as asked", firm=True)


def choose(evidence: Iterable[Evidence], revision: int | None) -> list[Choice]:
    """Dialects to try, best first. `revision` is the one in the header of the weights file, None without a
    file."""
    known = list(evidence)
    for tier in TIERS:
        for fork in (Fork.ALEXEYAB, Fork.PJREDDIE):
            if found := next((e for e in known if e.tier == tier and e.fork is fork), None):
                return [
                    Choice(
                        DIALECTS[fork.value],
                        f"{found.where}: only {fork}'s darknet knows {found.what}",
                        firm=True,
                    )
                ]
    if revision == ALEXEYAB_REVISION:
        first, reason = Fork.ALEXEYAB, "the weights file was written by alexeyab's darknet (revision 5)"
    else:
        first, reason = Fork.PJREDDIE, "nothing in the files belongs to one fork alone, so the original"
    other = next(f for f in BOTH if f is not first)
    return [
        Choice(DIALECTS[first.value], reason, firm=False),
        Choice(
            DIALECTS[other.value], f"the weights file fits {other}'s darknet and not {first}'s", firm=False
        ),
    ]
