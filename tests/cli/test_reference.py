"""The reference pages are what the code says now."""

from pathlib import Path

import pytest

from bnfold.cli.reference import PAGES

DOCS = Path(__file__).resolve().parents[2] / "docs"


@pytest.mark.parametrize("name", PAGES)
def test_the_page_is_current(name: str) -> None:
    assert (DOCS / name).read_text(encoding="utf-8") == PAGES[name](), "python -m bnfold.cli.reference docs"


def test_no_text_is_taken_for_html() -> None:
    assert "&lt;stem of MODEL>.folded.onnx" in PAGES["cli.md"]()
    assert "`<stem>.folded.onnx`" in PAGES["api.md"]()
