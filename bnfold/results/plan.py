"""What was read, folded and kept, as frozen values.

Finding     something a reader noticed and a user should know
Loaded      a model, where it came from, and its findings
Folded      one affine node that is gone, and into what
Kept        one affine node that stays, and exactly why
Copied      a kernel that is stored more than once after folding
Plan        all of them
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from ..records import dataclass
from .baking import Baked, Stated
from .kept_reasons import PADDING

if TYPE_CHECKING:
    import onnx_ir as ir

    from .pair import Pair


@dataclass(frozen=True)
class Finding:
    """Something that a reader noticed. `level` is "note" or "warning"; `code` is stable, for CI; `where`
    names the place."""

    level: str
    code: str
    where: str
    text: str

    def __str__(self) -> str:
        return f"{self.where}: {self.text}" if self.where else self.text


@dataclass(frozen=True, kw_only=True)
class Loaded:
    """A complete, unfolded model in standard ONNX operators.

    format   "onnx", "caffe" or "darknet"
    files    every file that was read, external data included, in reading order
    dialect  the dialect that was chosen ("" where the format has none) and `dialect_reason` why
    pair     what a writer of the model's own format has to know; None where the model was not read for one
    stated   what the files say of the preprocessing of inputs
    baked    what was made a part of the network; `unbaked` is the model without it
    as_read  the model is what the files hold; not so after recalibration, with preprocessing baked in, or
    with
             a shape written into it
    """

    model: ir.Model
    format: str
    name: str
    files: tuple[Path, ...] = ()
    findings: tuple[Finding, ...] = ()
    dialect: str = ""
    dialect_reason: str = ""
    pair: Pair | None = None
    stated: tuple[Stated, ...] = ()
    baked: tuple[Baked, ...] = ()
    unbaked: ir.Model | None = None
    as_read: bool = True


@dataclass(frozen=True, kw_only=True)
class Folded:
    """One affine node that is gone.

    node, op, source   the node that was folded, its operator, where it came from
    into               names of the nodes that hold it now
    values             names of values whose producer changed: what verification compares first
    scale, shift       smallest and largest of the folded map, float64
    dead               channels whose scale is zero
    smallest_variance  for a batch norm: the smallest running variance, else None
    via                operators that the map was moved through, in order
    """

    node: str
    op: str
    source: str
    into: tuple[str, ...]
    values: tuple[str, ...]
    scale: tuple[float, float]
    shift: tuple[float, float]
    channels: int
    dead: int = 0
    smallest_variance: float | None = None
    via: tuple[str, ...] = ()
    direction: str = "backward"


@dataclass(frozen=True)
class Kept:
    """One affine node that stays. `code` is stable (`kept.multiple-consumers`), `reason` is for people."""

    node: str
    op: str
    source: str
    code: str
    reason: str


@dataclass(frozen=True)
class Copied:
    """A kernel that operators share and that is stored `times` times now, because they hold different maps
    or because something reads it unfolded; `size` is how many bytes the copies add."""

    kernel: str
    times: int
    size: int


@dataclass(frozen=True)
class Plan:
    """Every affine node of a model with its verdict, in the order of the graph."""

    folded: tuple[Folded, ...] = ()
    kept: tuple[Kept, ...] = ()
    withdrawn: tuple[Kept, ...] = ()
    merged: tuple[str, ...] = field(default=())
    copied: tuple[Copied, ...] = ()

    @property
    def batch_norms(self) -> tuple[int, int]:
        """(folded, kept) counting BatchNormalization nodes alone."""
        kept = self.kept + self.withdrawn
        return tuple(sum(x.op == "BatchNormalization" for x in group) for group in (self.folded, kept))  # type: ignore[return-value]

    @property
    def changes(self) -> bool:
        """Does it change the model at all?"""
        return bool(self.folded or self.merged)

    def with_prepared(self, gone: tuple[str, ...], kept: tuple[Kept, ...], words: Mapping[str, str]) -> Plan:
        """The same plan of a baked model, with what was done before folding: nodes that weights took, those
        that stay, and `words` for what padding keeps in front."""
        told = tuple(
            replace(one, reason=f"{one.reason} ({words[one.node]})")
            if one.code == PADDING and words.get(one.node)
            else one
            for one in self.kept
        )
        return replace(self, merged=gone + self.merged, kept=kept + told)

    def with_withdrawn(self, withdrawn: tuple[Kept, ...]) -> Plan:
        """The same plan, remembering folds that verification took back; each node stands in one list
        alone."""
        names = {k.node for k in withdrawn}
        return replace(self, kept=tuple(k for k in self.kept if k.node not in names), withdrawn=withdrawn)
