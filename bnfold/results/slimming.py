"""What slimming came to, as frozen values.

LayerChannels  one convolution or product: how many channels it makes, before and after
Stays          channels that do nothing and stay all the same, and why
Slimming       all of them
Agreement      what a model without channels that did something still agrees on with the whole one
SlimResult     a slimmed model with all of this, and the report of verification
"""

from __future__ import annotations

from dataclasses import field
from pathlib import Path
from typing import TYPE_CHECKING

from ..records import dataclass
from .comparison import Comparison
from .fold_result import Census, Origin
from .latency import Latencies
from .norm_channels import NormChannels
from .notebook import block, short, table, unverified
from .recalibration import Recalibrated

if TYPE_CHECKING:
    import onnx_ir as ir


@dataclass(frozen=True)
class LayerChannels:
    """How many channels a linear operator makes, before and after."""

    node: str
    op: str
    before: int
    after: int


@dataclass(frozen=True)
class Stays:
    """So many channels of a node that could leave by themselves, and stay. `code` is stable, `reason` is for
    people."""

    node: str
    op: str
    source: str
    channels: int
    code: str
    reason: str


@dataclass(frozen=True)
class Slimming:
    """What leaves and what stays. `threshold` is the largest |gamma| that a ratio or a bound took out, None
    where only what does nothing leaves."""

    norms: tuple[NormChannels, ...] = ()
    layers: tuple[LayerChannels, ...] = ()
    stays: tuple[Stays, ...] = ()
    threshold: float | None = None

    @property
    def channels(self) -> int:
        """Channels of convolutions and products that leave."""
        return sum(row.before - row.after for row in self.layers)

    @property
    def of(self) -> int:
        """All that there were."""
        return sum(row.before for row in self.layers)

    @property
    def changes(self) -> bool:
        """Does any channel leave?"""
        return self.channels > 0


@dataclass(frozen=True, kw_only=True)
class Agreement:
    """Two models on the user's inputs.

    inputs   how many samples
    top1     the share of decisions (the largest entry of an output's last axis, or of its channels) that are
             the same; None where no output has several entries to choose from
    error    the root mean square of the difference over that of the whole model's outputs, the largest of all
             outputs
    outputs  (name, error) of each
    """

    inputs: int
    top1: float | None
    error: float
    outputs: tuple[tuple[str, float], ...] = ()


@dataclass(frozen=True, kw_only=True, repr=False)
class SlimResult:
    """What a slimming came to.

    model      the slimmed model (the input is never changed)
    slimming   every batch norm and layer: what leaves, what stays and why
    origin     format, files and dialect of the source, and what was noticed in it
    before     operators, parameters and bytes of the source; `after` the same of the slimmed model
    macs       multiply-accumulate operations before and after; None where a size is not known
    report     what verification measured: of the source, or where channels left that did something, of the
               source with these multiplied by zero; None where nothing was verified
    agreement  how far the outputs moved; only where channels left that did something
    latency    how long both models take; None unless it was measured
    path       the written file; None where nothing was written
    data       the data files that were written beside it
    recalibrated  what happened to the statistics of the batch norms afterwards; None where they are the
                  source's. The report is one of the model before
    seconds    (stage, how long it took)
    """

    model: ir.Model
    slimming: Slimming
    origin: Origin
    before: Census
    after: Census
    macs: tuple[int | None, int | None] = (None, None)
    report: Comparison | None = None
    agreement: Agreement | None = None
    latency: Latencies | None = None
    path: Path | None = None
    data: tuple[Path, ...] = ()
    recalibrated: Recalibrated | None = None
    seconds: tuple[tuple[str, float], ...] = field(default=())

    def __repr__(self) -> str:
        return f"<SlimResult: {self.summary}>"

    def _repr_html_(self) -> str:
        rows = [(row.node, row.op, row.before, row.after) for row in self.slimming.layers]
        stays = [(row.node, row.channels, row.reason) for row in self.slimming.stays]
        return block(
            self.summary,
            table(("layer", "operator", "channels before", "after"), rows),
            table(("node", "channels that stay", "reason"), stays),
            self.report._repr_html_() if self.report is not None else "",
        )

    @property
    def summary(self) -> str:
        """What left, and the verdict, in one line."""
        top1 = self.agreement.top1 if self.agreement is not None else None
        parts = [
            f"{self.slimming.channels:,} of {self.slimming.of:,} channels removed",
            f"{self.before.parameters:,} -> {self.after.parameters:,} parameters",
            f"top-1 agreement {top1:.1%}" if top1 is not None else "",
            unverified(self.slimming.changes) if self.report is None else self.report.summary,
            f"written to {short(str(self.path))}" if self.path is not None else "",
        ]
        return f"{short(self.origin.name)}: {', '.join(filter(None, parts))}"
