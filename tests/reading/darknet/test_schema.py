"""Signatures are schemas: what the binder makes of them, the table of options without use, and the table in
the README."""

from __future__ import annotations

from pathlib import Path

from bnfold.reading.darknet import sections as _  # noqa: F401  (fills SECTIONS)
from bnfold.reading.darknet.dialects import BOTH, Fork
from bnfold.reading.darknet.ignored_options import ROWS, ignored
from bnfold.reading.darknet.schema import LAYER_OPTIONS, SECTIONS, Parameter
from bnfold.reading.darknet.table import markdown, rows

PAGE = Path(__file__).resolve().parents[3] / "docs" / "darknet.md"


def test_a_signature_is_a_schema():
    parameters = SECTIONS["conv"].parameters
    assert parameters["filters"] == Parameter("filters", "int", 1, None)
    assert parameters["activation"] == Parameter("activation", "str", "logistic", None)
    assert parameters["stride_x"] == Parameter("stride_x", "int", -1, Fork.ALEXEYAB)
    assert SECTIONS["shortcut"].parameters["from"] == Parameter("from_", "ints", None, None)
    assert SECTIONS["yolo"].parameters["anchors"].kind == "floats"
    assert SECTIONS["shortcut"].parameters["alpha"].fork is Fork.PJREDDIE
    assert (SECTIONS["conv"].forks, SECTIONS["sam"].forks) == (BOTH, (Fork.ALEXEYAB,))


def test_an_option_is_used_or_ignored_and_never_both():
    for row in rows():
        assert not [name for name in row.parameters if ignored(row.name, name) or name in LAYER_OPTIONS], (
            row.name
        )


def test_ignored_options_are_of_sections_that_exist_and_have_a_reason():
    for names, _fork, why, options in ROWS:
        assert why
        assert options.split()
        assert {name for name in names.split() if name != "*"} <= set(SECTIONS)


def test_the_readme_has_the_table_of_this_code():
    assert markdown() in PAGE.read_text()
