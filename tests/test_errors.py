"""Errors: one sentence from fields, an exit code from the class, a place where it is known."""

from pathlib import Path

import pytest

from bnfold import errors
from bnfold.errors import BnfoldError, InputError, Malformed, NotEquivalent, blamed_on, one_line
from bnfold.ir.provenance import Source

CODES = {
    "BnfoldError": 70,
    "UsageError": 2,
    "InputError": 3,
    "Unreadable": 3,
    "Malformed": 3,
    "Mismatch": 3,
    "Unsupported": 4,
    "ProviderUnavailable": 5,
    "NotEquivalent": 1,
    "WriteError": 3,
    "Stopped": 6,
    "WouldReplace": 2,
}


def test_every_class_has_its_exit_code():
    found = {
        name: cls.exit_code
        for name, cls in vars(errors).items()
        if isinstance(cls, type) and issubclass(cls, BnfoldError)
    }
    assert found == CODES


@pytest.mark.parametrize("child", ["Unreadable", "Malformed", "Mismatch"])
def test_the_three_faults_of_a_file_are_input_errors(child):
    assert issubclass(getattr(errors, child), InputError)


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({}, "stride is -1"),
        ({"where": "net.cfg:12"}, "net.cfg:12: stride is -1"),
        ({"where": Path("nets") / "net.cfg"}, f"{Path('nets') / 'net.cfg'}: stride is -1"),
        (
            {"where": Source("net.cfg", line=12, type="maxpool", index=3)},
            "net.cfg:12 [maxpool] #3: stride is -1",
        ),
        ({"expected": "a positive number"}, "stride is -1; expected a positive number"),
        (
            {"where": "net.cfg:12", "expected": "a positive number", "way_out": "give stride=1"},
            "net.cfg:12: stride is -1; expected a positive number; give stride=1",
        ),
        ({"where": 0}, "0: stride is -1"),
    ],
)
def test_the_sentence_is_made_of_the_fields_that_are_known(fields, sentence):
    error = Malformed("stride is -1", **fields)
    assert str(error) == sentence
    assert (error.found, error.where) == ("stride is -1", fields.get("where"))


@pytest.mark.parametrize(
    "hostile", ["a\nbnfold: PASS folded=1", "a\rb", "a\x1b[2Jb", "a\x00b", "a\u2028b", "a\udce9b", "a\u202eb"]
)
def test_an_error_stays_one_printable_line(hostile):
    for error in (
        Malformed(hostile),
        Malformed("found", where=hostile),
        Malformed("found", expected=hostile, way_out=hostile),
        Malformed("found", where=Path(hostile.replace("\x00", ""))),
    ):
        assert str(error).isprintable()


def test_one_line_leaves_what_can_be_printed():
    assert one_line("schicht 'größe' 層 ∆") == "schicht 'größe' 層 ∆"


def test_blamed_on_adds_a_place_only_where_none_is_known():
    with pytest.raises(Malformed) as caught, blamed_on("net.cfg:12"):
        raise Malformed("stride is -1")
    assert caught.value.where == "net.cfg:12"
    with pytest.raises(Malformed) as caught, blamed_on("net.cfg"), blamed_on("net.cfg:12"):
        raise Malformed("stride is -1")
    assert caught.value.where == "net.cfg:12"


def test_blamed_on_leaves_other_errors_alone():
    with pytest.raises(ZeroDivisionError), blamed_on("net.cfg:12"):
        raise ZeroDivisionError


def test_not_equivalent_carries_its_report():
    report = object()
    error = NotEquivalent("output 'y' is off by 0.3", report=report, way_out="see --json")
    assert error.report is report
    assert str(error) == "output 'y' is off by 0.3; see --json"
