"""The page of patterns, made from the tables of rules: what folds, through what, and why something stays.

`python -m bnfold.folding.patterns` prints it; docs/patterns.md is its output, and a test holds one against
the other.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from ..results.kept_reasons import CODES
from .branches import LARGEST_GROWTH
from .commute import COMMUTES
from .forward import CONDITION_LIMIT
from .fused import PATTERNS
from .linear_operators import LINEAR_OPERATORS
from .normalisations import NORMALISATIONS
from .recognise import READERS

_MAPS = {
    "BatchNormalization": "γ·(x - μ)/√(σ² + ε) + β, in inference form, of every opset",
    "Mul": "c·x",
    "Add": "x + c",
    "Sub": "x - c, c - x",
    "Div": "x / c",
    "Neg": "-x",
}
_HOLDS = {
    "Conv": ("always", "a scale always; a shift where it does not pad"),
    **dict.fromkeys(("ConvTranspose", "DeformConv"), ("always", "a scale")),
    "Gemm": ("always", "always"),
    "MatMul": (
        "a scale; the shift joins an Add behind it, or a product of two matrices becomes a Gemm",
        "always; a shift as from behind, or it becomes an Add behind it",
    ),
    "Einsum": ("a scale, where it is a matrix product", "as MatMul"),
    **dict.fromkeys(("RNN", "GRU", "LSTM"), ("never", "always")),
}


def page() -> str:
    """The page as Markdown."""
    return "\n".join([*_head(), *_recognised(), *_held(), *_passed(), *_fused(), *_more(), *_kept()]) + "\n"


def _head() -> list[str]:
    return [
        "# What is folded, and what is not",
        "",
        "An affine node computes s·x + t with constants s and t, per channel. bnfold moves such a "
        "map through the graph, backward or",
        "forward, until linear operators hold all of it; then the node is gone. Every step is "
        "exact: the conditions below are proved on",
        "the graph, in float64, or the node stays, with a reason. This page is made from the "
        "tables of rules in `bnfold/folding/`.",
        "",
    ]


def _table(title: str, text: str, columns: Iterable[str], rows: Iterable[Iterable[str]]) -> list[str]:
    head = list(columns)
    lines = [f"## {title}", "", text, "", _row(head), _row(["---"] * len(head))]
    return [*lines, *(_row(row) for row in rows), ""]


def _row(cells: Iterable[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _recognised() -> list[str]:
    text = (
        "Constants may stand on either side and in any shape that provably does not enlarge x; "
        "they may come through Constant nodes,\n"
        "casts, reshapes, or any small constant subgraph. A decomposed batch norm is a row of these."
    )
    return _table("Affine nodes", text, ("operator", "map"), ((f"`{op}`", _MAPS[op]) for op in READERS))


def _held() -> list[str]:
    text = (
        "Weights must be constants that no caller may override; shared ones are copied on write. A "
        "weight behind DequantizeLinear takes\n"
        "factors along its output channels by rescaling its scale, negative ones where the sign of "
        "its values can be turned exactly. A shift is\n"
        f"pushed forward only where the predicted growth of rounding stays under {CONDITION_LIMIT:g}."
    )
    rows = ((f"`{op}`", *_HOLDS[op]) for op in LINEAR_OPERATORS)
    table = _table(
        "Linear operators that hold a map", text, ("operator", "from behind", "from in front"), rows
    )
    behind = ((f"`{op}`", row.condition) for op, row in NORMALISATIONS.items())
    words = "Their own scale and bias hold a map from behind, where these are constants."
    return [*table, *_table("Normalisations that hold a map", words, ("operator", "condition"), behind)]


def _passed() -> list[str]:
    rows = ((f"`{op}`", rule.condition) for op, rule in COMMUTES.items())
    return _table(
        "Operators that a map passes",
        "Both ways, each value on the way being read by nothing else.",
        ("operator", "condition"),
        rows,
    )


def _fused() -> list[str]:
    text = (
        "Runtimes compute these subgraphs as one operator, as long as they stand as they are. So their inner "
        "nodes are no affine nodes:\nthey stay (`kept.pattern`, shown under `-v`), and a map from outside "
        "passes or stops. Factors and summands may stand in any\norder and association, with casts in "
        "between; nothing else may read what is inside. `--fold-patterns` folds them all the same."
    )
    rows = ((row.name, f"`{row.form}`", ", ".join(row.runtimes)) for row in PATTERNS)
    return _table("What runtimes fuse, and folding leaves whole", text, ("pattern", "form", "fused by"), rows)


def _more() -> list[str]:
    return [
        "## Parallel branches",
        "",
        "Convolutions, batch norms, scales, averages and the value itself, all of one value and "
        "summed, become one convolution (RepVGG,",
        "MobileOne, ACNet, FastViT), where strides, dilations, groups and output sizes agree, the "
        "union has no more taps than the branches",
        f"together, and its largest tap is at most {LARGEST_GROWTH[32]:g} times (half precision: "
        f"{LARGEST_GROWTH[16]:g} times) that of its",
        "smallest branch, whose digits it would round away. `--no-merge-branches` turns it off.",
        "",
        "## Bodies and functions",
        "",
        "If, Loop and Scan bodies and model-local functions are folded inside. A function that is "
        "called once is folded across its call,",
        "too; one that is called from several places where its callers hand it constants that a fold needs.",
        "",
    ]


def _kept() -> list[str]:
    text = "Every affine node that stays has one of these codes in the plan, in reports and in `--json`."
    return _table(
        "Reasons to stay", text, ("code", "meaning"), ((f"`{code}`", words) for code, words in CODES.items())
    )


def main(say: Callable[[str], object]) -> None:
    """Say the page."""
    say(page())


if __name__ == "__main__":
    import sys

    main(sys.stdout.write)
