"""The page of patterns is the one that the tables make."""

from __future__ import annotations

from pathlib import Path

from bnfold.folding.patterns import page

PAGE = Path(__file__).resolve().parents[2] / "docs" / "patterns.md"


def test_the_page_is_current() -> None:
    assert PAGE.read_text(encoding="utf-8") == page(), "python -m bnfold.folding.patterns > docs/patterns.md"
