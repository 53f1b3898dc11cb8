"""Results as renderables for a rich console: tables of at most 80 columns that read as well in a log as on a
terminal.

This module builds renderables and never prints. Names come from model files, so they are `Text`, in which
rich obeys no markup. A name is never broken: where a table would have to, its rows become paragraphs.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from rich.text import Text

from ..errors import one_line
from ..ir.provenance import BAKED_KEY
from ..results.batch_run import Run
from ..results.comparison import Check, Comparison, Figures, Obligation, Proof, named
from ..results.fold_result import Census, Checked, FoldResult, Origin, Recalibration
from ..results.kept_reasons import PATTERN
from ..results.latency import FASTER, SLOWER, Latencies, Spread
from ..results.layers import Layer
from ..results.norm_channels import NormChannels
from ..results.pair_formats import asked
from ..results.plan import Copied, Folded, Kept, Plan
from ..results.recalibration import Recalibrated, Renewed
from ..results.slimming import Agreement, LayerChannels, SlimResult, Stays
from .listing import Listing
from .source_lines import from_here
from .units import in_bytes, in_macs

if TYPE_CHECKING:
    import onnx_ir as ir

VERDICTS = ("proved", "dropped", "failed", "open")  # of obligations
BARS = "▁▂▃▄▅▆▇█"
MOST_STAYS = 10  # lines without --verbose
MOST_MOVED = 12  # batch norms in the table of new statistics without --verbose
SHOWN = 5  # nodes named for each reason without --verbose


def folded(result: FoldResult, *, verbose: bool = False, dry_run: bool = False) -> Iterator[Any]:
    """The report of a fold: the operators before and after, the nodes that were kept and why, and what
    verification measured."""
    yield heading(result.origin, result.before)
    yield from baked(result)
    if result.recalibrated is not None:
        yield from statistics(result.recalibrated, verbose=verbose)
    yield operators(result.before, result.after)
    yield from plan(result.plan, verbose=verbose or dry_run, patterns=verbose)
    if result.report is not None:
        yield from comparison(result.report, verbose=verbose)
        if result.report.proof is not None and result.plan.folded:
            alone = sum(fold.node in result.report.proof.folds for fold in result.plan.folded)
            yield _line("folds proved on their own", f"{alone:,} of {len(result.plan.folded):,}")
    elif not dry_run and result.plan.changes:
        yield Text("not verified", style="yellow")
    if result.latency is not None:
        yield from latencies(result.latency)
    if verbose:
        yield _line("time", ", ".join(f"{stage} {seconds:.2f} s" for stage, seconds in result.seconds))
    if result.path is not None:
        yield _line("written", str(from_here(result.path)))
        if asked(result.path) is not None:
            yield from (_line("weights", str(from_here(file))) for file in result.data)


def recalibrated(result: Recalibration, *, verbose: bool = False) -> Iterator[Any]:
    """The report of new statistics: every batch norm with how far it moved, what was left alone, and how the
    outputs changed."""
    yield heading(result.origin, result.before)
    yield from statistics(result.statistics, verbose=verbose)
    if verbose:
        yield _line("time", ", ".join(f"{stage} {seconds:.2f} s" for stage, seconds in result.seconds))
    if result.path is not None:
        yield _line("written", f"{from_here(result.path)} ({in_bytes(result.after.size)})")
        if asked(result.path) is not None:
            yield from (_line("weights", str(from_here(file))) for file in result.data)


def statistics(found: Recalibrated, *, verbose: bool = False) -> Iterator[Any]:
    """What recalibration did; of many batch norms those that moved most, unless all are asked for."""
    yield Text("statistics estimated again: this is no fold, the model computes something else now")
    if found.layers:
        yield Text("moved, and between the halves of the inputs, in old deviations:")
    yield from _moved(found.layers, verbose)
    for row in found.layers:
        if row.shared:
            others = f"'{row.shared[0]}'" + (f" and {len(row.shared) - 1} more" if row.shared[1:] else "")
            yield Text(one_line(f"  '{row.node}' shared its statistics with {others}, and has its own now"))
    for one in found.left:
        yield Text(one_line(f"  left alone '{one.node}': {one.reason}"))
    for output in found.outputs:
        change = "not finite before or after" if output.change is None else f"changed by {output.change:.2g}"
        same = "" if output.agreement is None else f", the same class in {output.agreement:.1%}"
        yield _line(
            f"output '{one_line(output.name)}'", f"{change} of its size{same}, on {output.inputs} inputs"
        )
    way = "one pass" if found.one_pass else f"{found.passes} passes"
    yield _line("inputs", f"{found.inputs:,}, in {way} ({found.engine})")


def _moved(rows: Sequence[Renewed], verbose: bool) -> Iterator[Listing | Text]:
    figures = ("channels", "mean", "deviation", "halves", "died", "woke")
    table = Listing("batch norm", *figures, right=figures)
    order = {row.node: place for place, row in enumerate(rows)}
    most = sorted(rows, key=lambda row: -row.moved)[: None if verbose else MOST_MOVED]
    for row in sorted(most, key=lambda row: order[row.node]):
        table.add_row(
            Text(one_line(row.node)),
            f"{row.channels:,}",
            f"{row.mean_moved:.3g}",
            f"{row.deviation_moved:.3g}",
            _figure(row.between_halves, "{:.3g}"),
            f"{len(row.died) or ''}",
            f"{len(row.woke) or ''}",
        )
    if rows:
        yield table
    if len(rows) > len(most):
        yield Text(f"  and {len(rows) - len(most)} that moved less (-v shows them)")


def inspected(result: FoldResult, *, verbose: bool = False) -> Iterator[Any]:
    """A model and its plan: interface, operators now and after folding, and every verdict with its reason."""
    yield heading(result.origin, result.before)
    yield from baked(result)
    yield interface(result.model)
    yield operators(result.before, result.after)
    yield costs(result.layers)
    if result.norms:
        yield norms(result.norms)
    yield from plan(result.plan, verbose=True, patterns=verbose)
    if verbose:
        yield layers(result.layers)
        yield from (_line("read", str(file)) for file in result.origin.files)


def slimmed(result: SlimResult, *, verbose: bool = False, dry_run: bool = False) -> Iterator[Any]:
    """The report of a slimming: the channels of every batch norm, what left and what stayed, and what that
    was worth."""
    found = result.slimming
    yield heading(result.origin, result.before)
    if found.norms:
        yield norms(found.norms)
    yield _worth(result)
    if verbose:
        yield _slimmed_layers(found.layers)
    yield from _stays(found.stays, verbose)
    if found.threshold is not None:
        yield _line("threshold", f"|gamma| up to {found.threshold:.3g} counted as 0")
    if not dry_run:
        yield from _of_the_slimmed(result, verbose)
    if verbose:
        yield _line("time", ", ".join(f"{stage} {seconds:.2f} s" for stage, seconds in result.seconds))
    if result.path is not None:
        yield _line("written", str(from_here(result.path)))


def _of_the_slimmed(result: SlimResult, verbose: bool) -> Iterator[Any]:
    """What was measured of a slimmed model."""
    if result.report is not None:
        yield from comparison(result.report, verbose=verbose)
    elif result.slimming.changes:
        yield Text("not verified", style="yellow")
    if result.recalibrated is not None:
        yield from statistics(result.recalibrated, verbose=verbose)
    if result.agreement is not None:
        yield from _agreement(result.agreement)
    if result.latency is not None:
        yield from latencies(result.latency)


def norms(rows: Sequence[NormChannels]) -> Listing:
    """The channels of every batch norm, and how its |gamma| are spread from 0 to the largest."""
    counts = ("channels", "dead", "nearly", "constant", "leave")
    table = Listing("batch norm", *counts, "|gamma|", "max", right=(*counts, "max"))
    for row in rows:
        numbers = (row.dead, row.nearly_dead, row.constant, row.gone)
        table.add_row(
            Text(one_line(row.node)),
            f"{row.channels:,}",
            *(f"{n:,}" if n else "" for n in numbers),
            _spark(row.histogram),
            f"{row.largest:.3g}",
        )
    return table


def _spark(counts: Sequence[int]) -> str:
    """A histogram as bars of eighths; a range of few has a bar, one of none has not."""
    top = max(counts, default=0)
    return "".join("_" if not n else BARS[max(0, -(-n * len(BARS) // top) - 1)] for n in counts)


def _worth(result: SlimResult) -> Listing:
    """Channels, parameters, operations and bytes, before and after."""
    table = Listing("", "before", "after", "change", right=("before", "after", "change"))
    found, (old, new) = result.slimming, result.macs
    _add(table, "channels", found.of, found.of - found.channels)
    _add(table, "parameters", result.before.parameters, result.after.parameters)
    if old is not None and new is not None:
        table.add_row("MACs", in_macs(old), in_macs(new), _percent(old, new))
    if result.before.size is not None and result.after.size is not None:
        sizes = result.before.size, result.after.size
        table.add_row("file size", *map(in_bytes, sizes), _percent(*sizes))
    return table


def _slimmed_layers(rows: Sequence[LayerChannels]) -> Listing:
    table = Listing("layer", "operator", "channels", "after", right=("channels", "after"))
    for row in rows:
        after = f"{row.after:,}" if row.after != row.before else ""
        table.add_row(Text(one_line(row.node)), row.op, f"{row.before:,}", after)
    return table


def _stays(rows: Sequence[Stays], verbose: bool) -> Iterator[Text]:
    """Channels that do nothing and stay, with the reason."""
    for row in rows if verbose else rows[:MOST_STAYS]:
        what = f"{row.channels:,} channel{'s' if row.channels > 1 else ''} of {row.op} '{row.node}'"
        yield Text(one_line(f"  stays: {what}: {row.reason} [{row.code}]"))
    if not verbose and len(rows) > MOST_STAYS:
        more = sum(row.channels for row in rows[MOST_STAYS:])
        yield Text(f"  ... and {more:,} channels more (-v shows all)")


def _agreement(found: Agreement) -> Iterator[Text]:
    """How far the outputs moved on the user's inputs."""
    if found.top1 is not None:
        yield _line("top-1 agreement", f"{found.top1:.2%} on {found.inputs:,} inputs")
    for name, error in found.outputs:
        yield _line("output error", f"'{name}' {error:.3g} of its root mean square")


def checked(checks: Sequence[Checked]) -> Iterator[Any]:
    """Every model with its verdict, and every violation under it."""
    for one in checks:
        verdict = Text("FAIL ", style="red") if one.code else Text("ok   ", style="green")
        yield Text.assemble(verdict, one_line(str(one.path)))
        for found in one.violations:
            known = " (known)" if found.known else ""
            yield Text(one_line(f"     {found.where}: {found.text} [{found.code}]{known}"))


def selftested(checks: Sequence[Check]) -> Listing:
    """What was checked, on this machine or of a certificate, and what came out."""
    table = Listing("check", "", "what was found", prose=["check", "what was found"])
    for one in checks:
        style = {"ok": "green", "note": "yellow"}.get(one.level, "red")
        table.add_row(one.name, Text(one.level, style=style), Text(one_line(one.detail)))
    return table


def batched(runs: Sequence[Run]) -> Iterator[Any]:
    """A table with a line for each model; under it, why some did not pass."""
    figures = ("folded", "kept", "noise", "size", "seconds")
    table = Listing("model", "", *figures, right=figures)
    for run in runs:
        table.add_row(
            Text(one_line(run.name)),
            Text(run.outcome, style="green" if run.fine else "red"),
            _figure(run.folded, "{:,}"),
            _figure(run.kept, "{:,}"),
            _figure(run.noise, "{:.2f}"),
            in_bytes(run.after),
            f"{run.seconds:.1f}",
        )
    yield table
    for run in (run for run in runs if not run.fine):
        yield Text.assemble((f"{run.outcome} ", "red"), one_line(f"{run.name}: {run.sentence}"))


def _figure(value: float | None, form: str) -> str:
    return "" if value is None else form.format(value)


def interface(model: ir.Model) -> Listing:
    """Inputs and outputs with types and shapes; folding never changes them."""
    table = Listing("", "name", "type", "shape")
    for role, values in (("input", model.graph.inputs), ("output", model.graph.outputs)):
        for value in values:
            if value.name not in model.graph.initializers:
                shape = "x".join(str(d) for d in value.shape) if value.shape is not None else "unknown"
                kind = value.dtype.name.lower() if value.dtype is not None else "unknown"
                table.add_row(role, Text(one_line(value.name or "")), kind, Text(one_line(shape or "scalar")))
    return table


def costs(rows: Sequence[Layer]) -> Text:
    """The multiply-accumulate operations of all layers together."""
    unknown = sum(row.macs is None for row in rows)
    rest = f", and {unknown} layers of unknown size (--input-shape gives it)" if unknown else ""
    return _line("MACs", f"{in_macs(sum(row.macs or 0 for row in rows))} in a batch of 1{rest}")


def layers(rows: Sequence[Layer]) -> Listing:
    """What each layer costs."""
    table = Listing("layer", "operator", "output", "parameters", "MACs", right=("parameters", "MACs"))
    for row in rows:
        macs = "unknown" if row.macs is None else in_macs(row.macs) if row.macs else ""
        output = Text(one_line(row.output))
        table.add_row(Text(one_line(row.node)), row.op, output, f"{row.parameters:,}", macs)
    return table


def converted(result: FoldResult, *, verbose: bool = False) -> Iterator[Any]:
    """A model that was read and written as it is."""
    yield heading(result.origin, result.before)
    yield from baked(result)
    if verbose:
        yield operators(result.before, result.after)
        yield _line("time", ", ".join(f"{stage} {seconds:.2f} s" for stage, seconds in result.seconds))
    assert result.path is not None  # a conversion has one output
    yield _line("written", f"{from_here(result.path)} ({in_bytes(result.after.size)})")


def heading(origin: Origin, census: Census) -> Text:
    """One line: what was read."""
    dialect = f", {origin.dialect}" if origin.dialect else ""
    facts = f"{origin.format}{dialect}, {census.nodes:,} nodes, {census.parameters:,} parameters"
    return Text(one_line(f"{origin.name}: {facts}"), style="bold")


def baked(result: FoldResult) -> Iterator[Text]:
    """What was made a part of the network, and what it gives against preprocessing done outside."""
    for one in result.origin.baked:
        yield _line("baked", str(one))
    if held := [
        name for name in result.plan.merged if name in {f"{one.input}/order" for one in result.origin.baked}
    ]:
        yield _line("order of channels", f"held by weights ({', '.join(held)})")
    if any(node.metadata_props.get(BAKED_KEY) == "pad" for node in result.model.graph):
        yield _line("padding", "a Pad by the mean has taken the place of the convolution's own")
    found = result.outside
    if found is None:
        return
    if not found.samples:
        yield Text(one_line(f"not held against preprocessing done outside: {found.reason}"), style="yellow")
        return
    given = f", {found.images} of your own" if found.images else ""
    yield _line("outside", f"noise {found.noise:.2f} on {found.samples} samples{given}")


def operators(before: Census, after: Census) -> Listing:
    """The table that users of ONNX simplifiers know: each operator before and after, then parameters and
    bytes."""
    counts = ("before", "after", "change")
    table = Listing("operator", *counts, right=counts)
    old, new = dict(before.operators), dict(after.operators)
    for op in {**old, **new}:
        _add(table, op, old.get(op, 0), new.get(op, 0))
    table.add_section()
    _add(table, "nodes", before.nodes, after.nodes)
    _add(table, "parameters", before.parameters, after.parameters)
    if before.size is not None and after.size is not None:
        table.add_row(
            "file size", in_bytes(before.size), in_bytes(after.size), _percent(before.size, after.size)
        )
    return table


def plan(made: Plan, *, verbose: bool = False, patterns: bool = False) -> Iterator[Any]:
    """How many batch norms and other affine nodes are folded; which ones are kept, and why. `patterns`: those
    inside what runtimes fuse are named as well."""
    batch_norms = made.batch_norms
    others = (len(made.folded) - batch_norms[0], len(made.kept) + len(made.withdrawn) - batch_norms[1])
    inside = sum(row.code == PATTERN for row in made.kept)
    yield _line("batch norms", f"{batch_norms[0]} folded, {batch_norms[1]} kept")
    if any(others):
        rest = f" ({inside} inside patterns that runtimes fuse: -v shows them)" if inside else ""
        yield _line("other affine nodes", f"{others[0]} folded, {others[1]} kept{rest}")
    if verbose and made.folded:
        yield _folds(made.folded)
    shown = made.kept if patterns else tuple(row for row in made.kept if row.code != PATTERN)
    yield from _reasons("kept", shown, verbose)
    yield from _reasons("withdrawn", made.withdrawn, verbose)
    yield from _copies(made.copied, verbose)


def _copies(copied: Sequence[Copied], verbose: bool) -> Iterator[Text]:
    """Why the file holds more weights than before: the kernels that are stored more than once, with what each
    adds."""
    for one in copied if verbose else copied[:SHOWN]:
        why = "what shares it holds different maps, or reads it unfolded"
        yield Text(
            one_line(f"  copied '{one.kernel}': stored {one.times} times ({in_bytes(one.size)} more); {why}")
        )
    if not verbose and len(copied) > SHOWN:
        more = sum(one.size for one in copied[SHOWN:])
        yield Text(f"  ... and {len(copied) - SHOWN} more ({in_bytes(more)}; -v shows all)")


def comparison(report: Comparison, *, verbose: bool = False) -> Iterator[Any]:
    """What verification measured."""
    figures = ("noise", "error", "unfolded")
    table = Listing("verified on", "output", *figures, "", right=figures, prose=["verified on", ""])
    for provider in report.providers:
        shown = (
            provider.outputs
            if verbose
            else sorted(provider.outputs, key=lambda f: (f.passed, -f.noise))[:SHOWN]
        )
        for one in shown:
            table.add_row(
                f"{provider.provider} ({provider.engine})",
                Text(one_line(one.value)),
                f"{one.noise:.2f}",
                f"{one.candidate_error:.1e}",
                f"{one.reference_error:.1e}",
                _verdict(one),
            )
    yield table
    if report.proof is not None:
        yield from proof(report.proof, verbose=verbose)
    if report.folds:
        wrong = [f for f in report.folds if not f.passed]
        worst = max(f.noise for f in report.folds)
        yield _line(
            "each fold on its own",
            f"{len(report.folds)} checked, {len(wrong)} wrong, noise up to {worst:.2f}",
        )
    if report.divergence is not None:
        where = report.divergence
        yield _line("first difference", f"value '{where.value}' of node '{where.node}' {where.source}")
    for note in report.notes:
        yield _line("note", note)


def latencies(found: Latencies) -> Iterator[Any]:
    """How long the models take in every runtime: medians with quartiles, load time and memory."""
    table = Listing(
        "runtime", "", "median", "quartiles", "load ms", "own memory", right=("load ms", "own memory")
    )
    for row in found.rows:
        for side, one in (("before ms", row.before), ("after ms", row.after)):
            if one is not None:
                spread = _spread(one.latency, 1e3)
                table.add_row(row.name, side, *spread, f"{1e3 * one.load:.0f}", in_bytes(one.memory))
        if row.ratio is not None:
            style = {FASTER: "green", SLOWER: "red"}.get(row.verdict, "")
            table.add_row(row.name, "ratio", *_spread(row.ratio, style=style), "", "")
    yield table
    inputs = "".join(f", {name} {shape}" for name, shape in found.inputs)
    yield _line("measured", f"{found.runs} turns, one after the other, threads: {found.threads}{inputs}")
    for row in found.rows:
        if row.reason:
            yield _line(f"not measured in {row.name}", row.reason)


def _spread(spread: Spread, factor: float = 1.0, style: str = "") -> tuple[Text, Text]:
    """The median and the quartiles."""
    median, low, high = (f"{factor * value:.3g}" for value in (spread.median, spread.low, spread.high))
    return Text(median, style=style), Text(f"{low} .. {high}", style="dim")


def _verdict(figures: Figures) -> Text:
    if not figures.passed:
        return Text(one_line(figures.reason or "differs"), style="red")
    return Text(one_line(figures.reason), style="yellow") if figures.decided else Text("ok", style="green")


def proof(found: Proof, *, verbose: bool = False) -> Iterator[Text]:
    """What was proved where the two models differ, what was not, and which weights nothing speaks for."""
    counts = [f"{n:,} {word}" for word in VERDICTS if (n := found.count(word))]
    yield _line(
        "places where the models differ",
        f"{len(found.obligations):,} ({', '.join(counts)})" if counts else "none",
    )
    open_ones = [o for o in found.obligations if o.verdict in ("failed", "open")]
    causes = [o for o in found.obligations if o.verdict == "dropped" and o.cause and found.refuted]
    certain = [o for o in open_ones if o.cause]  # the others follow from what was dropped before them
    shown = [*certain, *causes, *(o for o in open_ones if not o.cause)]
    for one in shown if verbose else shown[:SHOWN]:
        yield Text(one_line(f"  {_obligation(one)}"), style="red" if one.verdict == "failed" else "yellow")
    if not verbose and len(shown) > SHOWN:
        yield Text(f"  ... and {len(shown) - SHOWN} more (-v shows all)")
    yield _line("weights", f"{found.proved:,} proved, {found.seen:,} seen, {found.unseen:,} unseen")
    if found.unseen:
        yield Text(
            one_line(f"  unseen: {named(found.unseen_weights, found.unseen if verbose else SHOWN)}"),
            style="yellow",
        )


def _obligation(one: Obligation) -> str:
    node = f" of node '{one.candidate[-1]}'" if one.candidate else ""
    where = f" in {one.where}" if one.where else ""
    return f"{one.verdict}: value '{one.value}'{node}{where}: {one.reason or 'not the same'}"


def _add(table: Listing, name: str, before: int, after: int) -> None:
    changed = "green" if after < before else "yellow" if after > before else ""
    table.add_row(
        Text(one_line(name), style=changed),
        f"{before:,}",
        f"{after:,}",
        f"{after - before:+,}" if after != before else "",
    )


def _folds(rows: tuple[Folded, ...]) -> Listing:
    table = Listing("folded", "operator", "into", "scale", "dead", prose=["into"])
    for row in rows:
        into = ", ".join(row.into) + (f" via {', '.join(row.via)}" if row.via else "")
        table.add_row(
            Text(one_line(row.node)),
            row.op,
            Text(one_line(into)),
            f"{row.scale[0]:.3g} .. {row.scale[1]:.3g}",
            str(row.dead) if row.dead else "",
        )
    return table


def _reasons(word: str, rows: tuple[Kept, ...], verbose: bool) -> Iterator[Text]:
    """The nodes that are kept, one line for each; without -v the first few of each code, and the number of
    the others."""
    shown: Counter[str] = Counter()
    total = Counter(row.code for row in rows)
    for row in rows:
        shown[row.code] += 1
        if verbose or shown[row.code] <= SHOWN:
            yield Text(one_line(f"  {word} {row.op} '{row.node}': {row.reason} [{row.code}]"))
        if not verbose and shown[row.code] == total[row.code] > SHOWN:
            yield Text(f"  ... and {total[row.code] - SHOWN} more [{row.code}] (-v shows all)")


def _line(name: str, value: str) -> Text:
    return Text.assemble((f"{name}: ", "bold"), one_line(value))


def _percent(before: int, after: int) -> str:
    return f"{100 * (after - before) / before:+.1f} %" if before and after != before else ""
