"""What happened, as frozen values: the only thing, besides the IR and files, in which the rooms meet.

    Finding     something a reader noticed and a user should know
    Loaded      a model, where it came from, and its findings
    Folded      one affine node that is gone, and into what
    Kept        one affine node that stays, and exactly why
    Plan        all of them
    Options     what the user asked of folding
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import onnx_ir as ir


@dataclass(frozen=True)
class Finding:
    """Something that a reader noticed. `level` is "note" or "warning"; `code` is stable, for CI; `where` names the place."""

    level: str
    code: str
    where: str
    text: str

    def __str__(self) -> str:
        return f"{self.where}: {self.text}" if self.where else self.text


@dataclass(frozen=True)
class Loaded:
    """A complete, unfolded model in standard ONNX operators.

    format   "onnx", "caffe" or "darknet"
    files    every file that was read, external data included, in reading order
    dialect  the dialect that was chosen ("" where the format has none) and `dialect_reason` why
    """

    model: ir.Model
    format: str
    name: str
    files: tuple[Path, ...] = ()
    findings: tuple[Finding, ...] = ()
    dialect: str = ""
    dialect_reason: str = ""


@dataclass(frozen=True)
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
class Plan:
    """Every affine node of a model with its verdict, in the order of the graph."""

    folded: tuple[Folded, ...] = ()
    kept: tuple[Kept, ...] = ()
    withdrawn: tuple[Kept, ...] = ()
    merged: tuple[str, ...] = field(default=())

    @property
    def batch_norms(self) -> tuple[int, int]:
        """(folded, kept) counting BatchNormalization nodes alone."""
        kept = self.kept + self.withdrawn
        return tuple(sum(x.op == "BatchNormalization" for x in group) for group in (self.folded, kept))  # type: ignore[return-value]

    @property
    def changes(self) -> bool:
        """Does it change the model at all?"""
        return bool(self.folded or self.merged)

    def with_withdrawn(self, withdrawn: tuple[Kept, ...]) -> Plan:
        """The same plan, remembering folds that verification took back; each node stands in one list alone."""
        names = {k.node for k in withdrawn}
        return replace(self, kept=tuple(k for k in self.kept if k.node not in names), withdrawn=withdrawn)


@dataclass(frozen=True)
class FoldOptions:
    """What the user asked of folding.

    keep                 fnmatch patterns of node names that are not to be touched
    freeze_initializers  treat initializers that a caller may override (graph inputs, IR >= 4) as constants
    withdrawn            exact node names that verification took back, with the reason
    """

    keep: tuple[str, ...] = ()
    freeze_initializers: bool = False
    duplicate_producers: bool = False
    merge_branches: bool = True
    simplify_leftovers: bool = False
    withdrawn: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class ReadOptions:
    """What the user asked of reading. A reader ignores nothing in silence: an option that its format has no use for is a UsageError
    raised by the command line, so readers may take the fields of their own format and the common ones alone.

    Common
      input_shapes    input name -> dims; the name "" stands for the only input
      opset           opset of the model that a reader builds (Caffe, darknet: 17 by default)
      strict          warnings become errors
      dialect         "auto", or a dialect of the format
      random_weights  seed for weights and healthy statistics when there is no weights file
    ONNX
      freeze_initializers  initializers that are graph inputs too are constants, whatever the IR version
    Caffe
      phase, stages, level, cut_at, assume_global_stats
    darknet
      heads ("layer", "raw", "boxes"), batch (None: symbolic), allow_partial
    """

    input_shapes: tuple[tuple[str, tuple[int, ...]], ...] = ()
    opset: int | None = None
    strict: bool = False
    dialect: str = "auto"
    random_weights: int | None = None
    freeze_initializers: bool = False
    phase: str = "TEST"
    stages: tuple[str, ...] = ()
    level: int = 0
    cut_at: tuple[str, ...] = ()
    assume_global_stats: bool = False
    heads: str = "layer"
    batch: int | None = None
    allow_partial: bool = False

    def shape_of(self, name: str) -> tuple[int, ...] | None:
        """The dims asked for an input, by its name or by the empty name."""
        table = dict(self.input_shapes)
        return table.get(name, table.get(""))
