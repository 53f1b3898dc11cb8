"""What came out, as frozen values: made by the pipeline, read by reports and by users of the API.

Origin      where a model came from, without the model itself
Census      what a model consists of: operators, parameters, bytes
FoldResult  a folded model with its plan, its census before and after, and the report of verification
Recalibration  a model with statistics from data, and what happened to them
Checked     a model held against a policy, with every Violation
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import field
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import NOT_EQUIVALENT, OK
from ..files.stamps import Stamp
from ..records import dataclass
from .baking import Baked
from .comparison import Comparison
from .latency import Latencies
from .norm_channels import NormChannels
from .notebook import block, counted, short, table, unverified
from .outside import Outside
from .plan import Finding, Loaded, Plan
from .recalibration import Recalibrated, Statistics

if TYPE_CHECKING:
    import onnx_ir as ir

    from .drawing import Detail
    from .layers import Layer

ORIGIN_KEY = "bnfold.origin"
WITHDRAWN = "kept.withdrawn"


@dataclass(frozen=True, kw_only=True)
class Origin:
    """A `Loaded` without its model: small enough to travel with the model in memory (`model.meta`). `stamps`
    tell what its files were when they were read; `baked` is what was made a part of it."""

    format: str = "onnx"
    name: str = "model"
    files: tuple[Path, ...] = ()
    findings: tuple[Finding, ...] = ()
    dialect: str = ""
    dialect_reason: str = ""
    stamps: tuple[Stamp, ...] = field(default=(), repr=False)
    baked: tuple[Baked, ...] = ()

    @property
    def size(self) -> int | None:
        """Bytes of all files together; None for a model that never was a file."""
        try:
            return sum(file.stat().st_size for file in self.files) if self.files else None
        except OSError:
            return None  # a file that is gone has no size any more


@dataclass(frozen=True)
class Census:
    """What a model consists of, its functions and inner graphs included.

    operators   operator type (with its domain, where that is not the standard one) -> how many nodes
    parameters  elements of all initializers and constants together
    size        bytes of the file or files, where there are any
    """

    operators: tuple[tuple[str, int], ...]
    parameters: int
    size: int | None = None

    @property
    def nodes(self) -> int:
        """All nodes."""
        return sum(count for _, count in self.operators)


@dataclass(frozen=True, kw_only=True, repr=False)
class FoldResult:
    """What a fold came to.

    model      the folded model (the input is never changed)
    plan       every affine node: folded into what, or kept and why
    origin     format, files and dialect of the source, and what was noticed in it
    before     operators, parameters and bytes of the source
    after      the same of the folded model
    report     what verification measured; None where nothing was verified
    path       the written file; None where nothing was written
    unchanged  nothing was folded, and the written file holds the same model
    detail     what pictures need; None unless it was asked for
    seconds    (stage, how long it took)
    data       the data files that were written beside `path`
    latency    how long both models take; None unless it was asked for, or where nothing was folded
    layers     what each layer of the source costs; only where nothing is written
    norms      the channels of every batch norm in numbers; only of an inspection
    outside    the written model held against preprocessing done outside; None where none was baked in
    recalibrated  what happened to the statistics before the fold; None where they are the source's. The fold
               is then one of the recalibrated model, not of the source
    statistics those that it was given, for a certificate
    """

    model: ir.Model
    plan: Plan
    origin: Origin
    before: Census
    after: Census
    report: Comparison | None = None
    path: Path | None = None
    unchanged: bool = False
    detail: Detail | None = None
    seconds: tuple[tuple[str, float], ...] = field(default=())
    data: tuple[Path, ...] = ()
    latency: Latencies | None = None
    layers: tuple[Layer, ...] = ()
    norms: tuple[NormChannels, ...] = ()
    outside: Outside | None = None
    recalibrated: Recalibrated | None = None
    statistics: tuple[Statistics, ...] = ()

    def __repr__(self) -> str:
        return f"<FoldResult: {self.summary}>"

    def _repr_html_(self) -> str:
        before, after = dict(self.before.operators), dict(self.after.operators)
        operators = [
            *((op, before.get(op, 0), after.get(op, 0)) for op in {**before, **after}),
            ("nodes", self.before.nodes, self.after.nodes),
            ("parameters", self.before.parameters, self.after.parameters),
        ]
        kept = [(row.op, row.node, row.reason) for row in (*self.plan.kept, *self.plan.withdrawn)]
        return block(
            self.summary,
            table(("operator", "before", "after"), operators),
            table(("kept", "node", "reason"), kept),
            self.report._repr_html_() if self.report is not None else "",
        )

    @property
    def summary(self) -> str:
        """What was folded, and the verdict, in one line."""
        folded, kept = self.plan.batch_norms
        others = len(self.plan.folded) - folded
        parts = [
            self.recalibrated.summary if self.recalibrated is not None else "",
            f"{counted(folded, 'batch norm')} folded, {kept} kept",
            f"{counted(others, 'other affine node')} folded" if others else "",
            f"{self.before.nodes} -> {self.after.nodes} nodes",
            unverified(self.plan.changes) if self.report is None else self.report.summary,
            f"written to {short(str(self.path))}" if self.path is not None else "",
        ]
        return f"{short(self.origin.name)}: {', '.join(filter(None, parts))}"


@dataclass(frozen=True, kw_only=True, repr=False)
class Recalibration:
    """What `bnfold.recalibrate` gives.

    model        the model with its new statistics (the input is never changed)
    statistics   every batch norm, what moved, and what was noticed
    origin       format, files and dialect of the source
    before       operators, parameters and bytes of the source
    after        the same of the model
    path         the written file; None where nothing was written
    seconds      (stage, how long it took)
    data         the data files that were written beside `path`
    """

    model: ir.Model
    statistics: Recalibrated
    origin: Origin
    before: Census
    after: Census
    path: Path | None = None
    seconds: tuple[tuple[str, float], ...] = field(default=())
    data: tuple[Path, ...] = ()

    @property
    def findings(self) -> tuple[Finding, ...]:
        """What is to be known of the new statistics."""
        return self.statistics.findings

    @property
    def summary(self) -> str:
        """What was done, in one line."""
        return f"{short(self.origin.name)}: {self.statistics.summary}"

    def __repr__(self) -> str:
        return f"<Recalibration: {self.summary}>"

    def _repr_html_(self) -> str:
        heads = ("batch norm", "mean moved", "deviation moved", "died", "woke")
        rows = [
            (row.node, f"{row.mean_moved:.3g}", f"{row.deviation_moved:.3g}", len(row.died), len(row.woke))
            for row in self.statistics.layers
        ]
        left = [(row.node, row.reason) for row in self.statistics.left]
        return block(self.summary, table(heads, rows), table(("left alone", "reason"), left))


@dataclass(frozen=True)
class Violation:
    """One thing that a policy does not allow.

    code       stable, for CI
    where      the place in the source, in words
    subject    the node that it is about, "" for the whole model: with `code` and the model it tells one
               violation from another
    amount     how bad it is, where that is a number (bytes, noise ratio)
    path       the file that has to change, with the line where it is text
    exit_code  what this violation alone would end with
    known      a baseline has it already, so it fails nothing
    """

    code: str
    where: str
    text: str
    subject: str = ""
    amount: float | None = None
    path: str = ""
    line: int | None = None
    column: int | None = None
    exit_code: int = NOT_EQUIVALENT
    known: bool = False


@dataclass(frozen=True)
class Checked:
    """One model held against a policy: fine when it has no violation but known ones. What could not be loaded
    has no origin, census or plan. `ran` are the codes of the rules that were applied; a rule that the policy
    does not ask for, or that nothing is there for, is not among them. `seconds` are (code, how long the rule
    took)."""

    path: Path
    violations: tuple[Violation, ...]
    origin: Origin | None = None
    census: Census | None = None
    plan: Plan | None = None
    ran: tuple[str, ...] = ()
    seconds: tuple[tuple[str, float], ...] = ()

    @property
    def code(self) -> int:
        """The exit code that this model alone would give: what could not be read stands before what a policy
        forbids."""
        return max((v.exit_code for v in self.violations if not v.known), default=OK)


def origin_of(loaded: Loaded) -> Origin:
    """Where a loaded model came from."""
    stamps = recalled(loaded.model).stamps
    return Origin(
        format=loaded.format,
        name=loaded.name,
        files=loaded.files,
        findings=loaded.findings,
        dialect=loaded.dialect,
        dialect_reason=loaded.dialect_reason,
        stamps=stamps,
        baked=loaded.baked,
    )


def recalled(model: ir.Model) -> Origin:
    """Where a model in memory came from, as `load` noted it on the model."""
    found = model.meta.get(ORIGIN_KEY)
    return found if isinstance(found, Origin) else Origin(name=model.graph.name or "model")


def census(model: ir.Model, size: int | None = None) -> Census:
    """Count a model. Reads shapes alone, never a weight."""
    from ..ir.graph import STANDARD, nodes
    from ..ir.tensor import elements

    counts = Counter(n.op_type if n.domain in STANDARD else f"{n.domain}.{n.op_type}" for n in nodes(model))
    parameters = sum(map(elements, _tensors(model)))
    return Census(tuple(sorted(counts.items(), key=lambda row: (-row[1], row[0]))), parameters, size)


def _tensors(model: ir.Model) -> Iterator[ir.TensorProtocol]:
    from ..ir.graph import graphs, initializers, ir, is_op

    for graph in graphs(model):
        if isinstance(graph, ir.Graph):
            yield from (v.const_value for v in initializers(graph) if v.const_value is not None)
        for node in graph:
            value = node.attributes.get("value") if is_op(node, "Constant") else None
            if value is not None and not value.is_ref():
                yield value.value  # `as_tensor` checks a protocol, attribute by attribute
