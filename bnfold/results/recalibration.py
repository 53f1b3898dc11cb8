"""What recalibration came to, as frozen values.

Renewed         one batch norm with statistics from the inputs, and how far they are from the old ones
Statistics      its numbers
LeftAlone       one that keeps its statistics, and why
ChangedOutput   how an output changed
Recalibrated    all of them
"""

from __future__ import annotations

from ..records import dataclass
from .notebook import counted
from .plan import Finding

FEWEST = 32  # inputs from which on statistics are taken without a warning
UNSETTLED = 0.1  # old deviations between the halves of the data beyond which statistics still move


@dataclass(frozen=True, kw_only=True)
class Renewed:
    """One batch norm. Figures are in deviations: sqrt(variance + epsilon), as the batch norm divides by it.

    level               how many batch norms stand before it on the longest way from an input
    values              how many values of each channel were seen
    mean_moved          by how many old deviations the mean moved: root mean square over the channels
    deviation_moved     by which part of itself the deviation changed: the same
    most_moved          the largest of both, in any channel
    between_halves      by how many deviations mean or deviation differ between the first and the second half
                        of the inputs, root mean square over the channels; None where there are no halves
    died, woke          channels that hardly vary any more, and those that did not and do now
    unusable            channels whose old statistics were not finite, or whose variance was negative
    was_training        it normalised with the statistics of the batch, and with these now
    shared              batch norms that had the same statistics; it has its own now
    means, deviations   (before, after) of some channels, evenly chosen, for pictures
    """

    node: str
    source: str
    level: int
    channels: int
    values: int
    mean_moved: float
    deviation_moved: float
    most_moved: float
    between_halves: float | None = None
    died: tuple[int, ...] = ()
    woke: tuple[int, ...] = ()
    unusable: int = 0
    was_training: bool = False
    shared: tuple[str, ...] = ()
    means: tuple[tuple[float, float], ...] = ()
    deviations: tuple[tuple[float, float], ...] = ()

    @property
    def moved(self) -> float:
        """How far it moved, in one figure."""
        return max(self.mean_moved, self.deviation_moved)


@dataclass(frozen=True)
class Statistics:
    """The statistics of one batch norm, as they are stored."""

    node: str
    mean: tuple[float, ...]
    variance: tuple[float, ...]


@dataclass(frozen=True)
class LeftAlone:
    """One batch norm that keeps its statistics, and why."""

    node: str
    source: str
    reason: str


@dataclass(frozen=True)
class ChangedOutput:
    """How one output changed over `inputs` inputs: root mean square of the change over that of the output as
    it was, and, of scores of classes, the share of inputs whose largest score is the same class's. None where
    that says nothing."""

    name: str
    inputs: int
    change: float | None
    agreement: float | None = None


@dataclass(frozen=True, kw_only=True)
class Recalibrated:
    """What happened. `passes` are runs over all inputs, with as much of the network as each needs; `findings`
    are warnings. It is no fold: the model computes something else now."""

    inputs: int
    passes: int
    one_pass: bool
    layers: tuple[Renewed, ...]
    left: tuple[LeftAlone, ...] = ()
    outputs: tuple[ChangedOutput, ...] = ()
    engine: str = ""
    data: tuple[str, ...] = ()
    findings: tuple[Finding, ...] = ()

    @property
    def moved(self) -> float:
        """How far the batch norm moved that moved most, in old deviations."""
        return max((layer.moved for layer in self.layers), default=0.0)

    @property
    def summary(self) -> str:
        """What was done, in one line."""
        parts = [
            f"{counted(len(self.layers), 'batch norm')} recalibrated on {counted(self.inputs, 'input')}",
            f"{len(self.left)} left alone" if self.left else "",
            f"moved by up to {self.moved:.2g} old deviations" if self.layers else "",
        ]
        return ", ".join(filter(None, parts))
