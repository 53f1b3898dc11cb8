"""What people read: 80 columns, no markup obeyed, long lists shortened with a word on how to see all."""

from __future__ import annotations

import io
from dataclasses import replace
from typing import Any

import pytest
from rich.console import Console

from bnfold.reporting import text
from bnfold.results.comparison import (
    DECIDED,
    Check,
    Comparison,
    Divergence,
    Figures,
    Obligation,
    Proof,
    ProviderResult,
)
from bnfold.results.fold_result import Census
from bnfold.results.plan import Copied, Folded, Kept, Plan

FIGURES = Figures(
    value="prob",
    shape=(1, 10),
    dtype="float",
    magnitude=1.0,
    reference_error=1e-7,
    candidate_error=2e-3,
    reference_rms=1e-7,
    candidate_rms=1e-3,
    noise=2e4,
    roundings=2e4,
    passed=False,
    reason="noise 2e+04 is over the limit of 4",
)
REPORT = Comparison(
    equivalent=False,
    providers=(
        ProviderResult(
            provider="cpu", engine="onnxruntime", outputs=(FIGURES,), passed=False, noise=2e4, max_error=2e-3
        ),
    ),
    noise=2e4,
    max_error=2e-3,
    truth="float64",
    seed=0,
    divergence=Divergence("conv1", "conv1", "net.prototxt:14 conv1 (Convolution)", "bn1", FIGURES),
)


def rendered(*things: Any) -> str:
    console = Console(file=io.StringIO(), width=80, markup=False, emoji=False, highlight=False)
    for thing in things:
        console.print(thing)
    assert isinstance(console.file, io.StringIO)
    lines = console.file.getvalue()
    assert max(map(len, lines.splitlines()), default=0) <= 80
    return lines


def fold(name: str) -> Folded:
    return Folded(
        node=name,
        op="BatchNormalization",
        source="",
        into=(f"conv_{name}",),
        values=(name,),
        scale=(0.5, 2.0),
        shift=(-1.0, 1.0),
        channels=8,
        dead=3,
        via=("Relu",),
    )


def test_the_table_of_operators() -> None:
    before = Census((("Conv", 5), ("BatchNormalization", 5)), 12_345, 2_000_000)
    after = Census((("Conv", 5), ("Add", 1)), 12_000, 1_900_000)
    lines = {
        line.split()[0]: line.split()
        for line in rendered(text.operators(before, after)).splitlines()
        if line.split()
    }
    assert lines["BatchNormalization"] == ["BatchNormalization", "5", "0", "-5"]
    assert lines["Conv"] == ["Conv", "5", "5"]
    assert lines["Add"] == ["Add", "0", "1", "+1"]
    assert lines["parameters"][1:] == ["12,345", "12,000", "-345"]
    assert lines["file"] == ["file", "size", "2.0", "MB", "1.9", "MB", "-5.0", "%"]


def test_reasons_are_shortened_by_code() -> None:
    kept = tuple(
        Kept(f"bn{i}", "BatchNormalization", "", "kept.training-mode", "it runs in training mode")
        for i in range(12)
    )
    made = Plan((fold("x"),), (*kept, Kept("odd", "Mul", "", "kept.not-finite", "its factor is not finite")))
    short = rendered(*text.plan(made))
    assert short.count("it runs in training mode") == text.SHOWN
    assert "... and 7 more [kept.training-mode] (-v shows all)" in short
    assert "'odd': its factor is not finite [kept.not-finite]" in short
    assert "batch norms: 1 folded, 12 kept" in short
    assert "other affine nodes: 0 folded, 1 kept" in short
    assert rendered(*text.plan(made, verbose=True)).count("it runs in training mode") == 12


def test_every_fold_under_v() -> None:
    shown = rendered(*text.plan(Plan((fold("x"),)), verbose=True))
    assert "conv_x via Relu" in shown
    assert "0.5 .. 2" in shown


def test_a_failure_names_the_first_difference() -> None:
    shown = rendered(*text.comparison(REPORT))
    assert "first difference: value 'conv1' of node 'conv1' net.prototxt:14 conv1" in shown
    assert "over the limit" in shown.replace("\n", " ")


def test_the_worst_outputs_are_shown_first_and_all_under_v() -> None:
    many = tuple(replace(FIGURES, value=f"out{i}", noise=float(i), passed=True, reason="") for i in range(9))
    report = replace(
        REPORT, divergence=None, providers=(replace(REPORT.providers[0], outputs=(*many, FIGURES)),)
    )
    short = rendered(*text.comparison(report))
    assert short.index("prob") < short.index("out8")
    assert "out3" not in short
    assert "out0" in rendered(*text.comparison(report, verbose=True))


@pytest.mark.parametrize("name", ["[bold]x[/bold]", ":smile:", "a\x1b[31mb", "line\nbreak", "x" * 300])
def test_names_are_shown_as_they_are(name: str) -> None:
    shown = rendered(*text.plan(Plan((), (Kept(name, "Mul", "", "kept.requested", "as asked"),))))
    assert "\x1b" not in shown
    assert "line\nbreak" not in shown
    assert name.encode("unicode_escape").decode() in shown.replace("\n", "")


def test_the_self_test() -> None:
    shown = rendered(
        text.selftested([Check("arithmetic", "ok", "exact"), Check("operators", "fault", "Conv is wrong")])
    )
    assert "Conv is wrong" in shown


PROOF = Proof(
    obligations=(
        Obligation("c1", "proved", folds=("bn1",)),
        Obligation("c2", "dropped", cause=True, reason="17 times what rounding its weights can do"),
        Obligation("y", "failed", where="if/0", candidate=("conv", "head"), reason="over the limit"),
    ),
    proved=3,
    seen=2,
    unseen=7,
    unseen_weights=tuple("abcdefg"),
)


def test_what_was_proved_and_what_was_not_is_shown_with_its_reason() -> None:
    words = " ".join(rendered(*text.comparison(replace(REPORT, proof=PROOF))).split())
    assert "3 (1 proved, 1 dropped, 1 failed)" in words
    assert "dropped: value 'c2': 17 times what rounding" in words
    assert "failed: value 'y' of node 'head' in if/0: over the limit" in words
    assert "weights: 3 proved, 2 seen, 7 unseen" in words
    assert "'e' and 2 more" in words
    assert "'g'" in rendered(*text.comparison(replace(REPORT, proof=PROOF), verbose=True))


def test_an_output_behind_a_decision_is_not_called_ok() -> None:
    decided = replace(
        FIGURES, passed=True, noise=1.0, reason=f"{DECIDED}: the reference is 1 away from float64"
    )
    result = replace(REPORT.providers[0], passed=True, outputs=(decided,))
    words = " ".join(
        rendered(*text.comparison(replace(REPORT, equivalent=True, providers=(result,)))).split()
    )
    assert "decided," in words
    assert " ok" not in words


def test_kernels_that_are_stored_more_than_once_are_named_with_what_they_cost() -> None:
    made = Plan(copied=tuple(Copied(f"w{n}", times=2, size=1000) for n in range(7)))
    shown = rendered(*text.plan(made))
    assert "copied 'w0': stored 2 times (1.0 kB more)" in shown
    assert "w5" not in shown
    assert "... and 2 more (2.0 kB; -v shows all)" in shown
    assert "w6" in rendered(*text.plan(made, verbose=True))
