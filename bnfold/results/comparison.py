"""The verdict of verification, as frozen values. Made in verifying/, read by pipeline, reporting and users of
the API.

Figures         one value (usually an output), unfolded and folded against the truth
ProviderResult  all figures of one execution provider
Comparison      everything: truthy when the two models are equivalent
Check           one line of the self-test
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..records import dataclass
from .notebook import block, short, table
from .options import NOISE_LIMIT

if TYPE_CHECKING:
    import onnx_ir as ir

NAMED = 8  # weights that a sentence names
DECIDED = "decided, not compared"  # how the reason of an output begins whose numbers say nothing


@dataclass(frozen=True)
class Side:
    """One of the two models: as IR (for the float64 interpreter) and, where it is on disk already, as a file
    (for onnxruntime)."""

    model: ir.Model
    path: Path | None = None
    name: str = ""


@dataclass(frozen=True, kw_only=True)
class Figures:
    """One value of both models against the truth.

    reference_error, candidate_error  largest error relative to the value's own magnitude
    reference_rms, candidate_rms      the same, root mean square
    noise                             candidate over reference error: about 1 for a right fold
    roundings                         candidate error in units of the storage type's rounding
    """

    value: str
    shape: tuple[int, ...]
    dtype: str
    magnitude: float
    reference_error: float
    candidate_error: float
    reference_rms: float
    candidate_rms: float
    noise: float
    roundings: float
    passed: bool
    reason: str = ""
    top1: float | None = None
    top5: float | None = None

    @property
    def decided(self) -> bool:
        """Does it stand behind a decision (TopK, NonMaxSuppression ...), so that its numbers say nothing?"""
        return self.reason.startswith(DECIDED)


@dataclass(frozen=True)
class Obligation:
    """One place where the two models differ, and whether both sides give the same there.

    value                 the value at its end, by the reference's name
    verdict               "proved", "dropped" (the pair does not mean the same; what is behind it was proved
                          from further back), "failed" (an output is not the same), "open" (nothing here can
                          run it)
    where                 the node whose body it stands in; empty in the main graph
    reference, candidate  names of the nodes of both sides
    folds                 what was folded into the candidate's nodes
    figures               the difference in float64 against what rounding the weights can do
    cause                 no other pair that does not hold lies between its end and what both sides share
    reason                why it is not proved; empty where it is
    """

    value: str
    verdict: str
    where: str = ""
    reference: tuple[str, ...] = ()
    candidate: tuple[str, ...] = ()
    folds: tuple[str, ...] = ()
    figures: Figures | None = None
    cause: bool = False
    reason: str = ""


@dataclass(frozen=True)
class Proof:
    """What is known without trusting samples of the whole network.

    obligations      every place where the two models differ
    proved           weights of the reference whose readers are the same in both models or were proved to be
    seen             weights behind which only outputs were compared, but that show there when they change by
                     1 %
    unseen           weights that neither proof nor samples say anything about
    unseen_weights   their names
    """

    obligations: tuple[Obligation, ...] = ()
    proved: int = 0
    seen: int = 0
    unseen: int = 0
    unseen_weights: tuple[str, ...] = ()

    @property
    def complete(self) -> bool:
        """Are all outputs proved to be the same?"""
        return all(o.verdict in ("proved", "dropped") for o in self.obligations)

    def count(self, verdict: str) -> int:
        """How many obligations have this verdict."""
        return sum(o.verdict == verdict for o in self.obligations)

    @property
    def folds(self) -> frozenset[str]:
        """The names of the folded nodes that stand in obligations that were proved."""
        texts = [text for o in self.obligations if o.verdict == "proved" for text in o.folds]
        return frozenset(name for text in texts for name in (text, *text.split(", ")))

    @property
    def refuted(self) -> tuple[Obligation, ...]:
        """Outputs that were shown to differ."""
        return tuple(o for o in self.obligations if o.verdict == "failed")


@dataclass(frozen=True)
class Divergence:
    """The first value, in topological order, whose error leaves the noise."""

    value: str
    node: str
    source: str
    folds: str
    figures: Figures


@dataclass(frozen=True, kw_only=True)
class ProviderResult:
    """What one execution provider computed. `engine` is "onnxruntime" or "float64" (decision 7: what
    onnxruntime cannot run)."""

    provider: str
    engine: str
    outputs: tuple[Figures, ...]
    passed: bool
    noise: float
    max_error: float
    seconds: tuple[float, float] = (0.0, 0.0)
    spread: float | None = None
    provider_error: float | None = None
    tf32_error: float | None = None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True, repr=False)
class Comparison:
    """Truthy when the two models are numerically the same; carries every figure.

    equivalent   the verdict
    providers    the figures of each execution provider
    noise        the largest noise ratio: error of the candidate over error of the reference
    max_error    the candidate's largest error, relative to the value's own magnitude
    truth        what errors are measured against: "float64", or "unfolded"
    seed         of the random inputs
    inputs       (name, shape) of every input that was fed
    divergence   the first value that leaves the noise; None where the gate passes
    reason       why the gate fails; empty where it passes
    notes        what was chosen or could not be done
    folds        every folded value on its own, computed by the candidate from true inputs in float64: `noise`
                 is its error over what rounding the folded weights can do
    environment  (name, version) of the machine and its libraries
    seconds      how long all of it took
    noise_limit  the limit that `noise` was held against
    proof        what is known without samples of the whole network: every place where the models differ, and
                 which weights are proved, seen or neither; None where the reference cannot be run in float64
    """

    equivalent: bool
    providers: tuple[ProviderResult, ...]
    noise: float
    max_error: float
    truth: str
    seed: int
    inputs: tuple[tuple[str, str], ...] = ()
    divergence: Divergence | None = None
    reason: str = ""
    notes: tuple[str, ...] = ()
    folds: tuple[Figures, ...] = ()
    environment: tuple[tuple[str, str], ...] = field(default=())
    seconds: float = 0.0
    noise_limit: float = NOISE_LIMIT
    proof: Proof | None = None

    def __bool__(self) -> bool:
        return self.equivalent

    def __repr__(self) -> str:
        return f"<Comparison: {self.summary}>"

    def _repr_html_(self) -> str:
        rows = [
            (p.provider, f.value, f"{f.noise:.2f}", f"{f.candidate_error:.1e}", f.reason or "ok")
            for p in self.providers
            for f in p.outputs
        ]
        return block(self.summary, table(("provider", "output", "noise", "max error", "verdict"), rows))

    @property
    def summary(self) -> str:
        """The verdict and its figures in one line."""
        providers = ",".join(p.provider for p in self.providers) or "none"
        figures = f"noise={self.noise:.2g} max_error={self.max_error:.2g} ep={providers}"
        reason = f" ({short(self.reason)})" if self.reason else ""
        return f"{'equivalent' if self.equivalent else 'not equivalent'} {figures}{reason}"

    @property
    def unseen(self) -> str:
        """What verification says nothing about, as a sentence; empty where it saw everything."""
        if self.proof is None or not self.proof.unseen:
            return ""
        many = self.proof.unseen != 1
        return (
            f"{self.proof.unseen:,} weight{'s were' if many else ' was'} neither proved nor seen, "
            "and may hold anything: " + named(self.proof.unseen_weights)
        )

    def strictly(self) -> Comparison:
        """The verdict of one for whom warnings are errors: weights that nothing speaks for are a failure."""
        return replace(self, equivalent=False, reason=self.unseen) if self and self.unseen else self

    def as_dict(self) -> dict[str, Any]:
        """Plain lists, dicts, strings and numbers."""
        return asdict(self)

    def to_json(self) -> str:
        """The report as JSON text; what is not finite becomes null, as JSON has no NaN."""
        return json.dumps(finite(self.as_dict()), indent=2, sort_keys=True)


@dataclass(frozen=True)
class Check:
    """One line of the self-test. `level` is "ok", "note" or "fault"."""

    name: str
    level: str
    detail: str
    seconds: float = 0.0

    def __bool__(self) -> bool:
        return self.level != "fault"


def named(names: Sequence[str], most: int = NAMED) -> str:
    """Names in quotes, at most so many."""
    rest = f" and {len(names) - most:,} more" if len(names) > most else ""
    return ", ".join(f"'{name}'" for name in names[:most]) + rest


def finite(value: Any) -> Any:
    """The same value with None for every number that is not finite, and lists for tuples: JSON has no NaN."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {k: finite(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [finite(v) for v in value]
    return value
