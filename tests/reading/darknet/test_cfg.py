"""The syntax of a cfg: every quirk of darknet's own reader, and errors with file and line."""

from __future__ import annotations

import pytest

from bnfold.errors import Malformed, Unreadable, Unsupported
from bnfold.reading.darknet import sniff
from bnfold.reading.darknet.cfg import LIMIT, parse, read_bytes
from bnfold.reading.darknet.findings import Notes
from bnfold.reading.darknet.syntax import atof, atoi


def parsed(text: str | bytes, strict: bool = False):
    notes = Notes(strict)
    return parse(text if isinstance(text, bytes) else text.encode(), "net.cfg", notes), notes.findings


def options(text: str) -> dict[str, str | None]:
    sections, _ = parsed("[net]\n" + text)
    return {key: option.text for key, option in sections[0].options.items()}


@pytest.mark.parametrize(
    ("line", "key", "value"),
    [
        ("width=7", "width", "7"),
        (" w i d t h\t= 7 ", "width", "7"),
        ("width=7\r", "width", "7"),
        ("activation=relu # why", "activation", "relu#why"),
        ("anchors = 1,2,  3,4", "anchors", "1,2,3,4"),
        ("a=b=c", "a", "b=c"),
        ("pad", "pad", None),
    ],
)
def test_options(line, key, value):
    assert options(line) == {key: value}


def test_comments_and_blank_lines_are_nothing():
    assert options("# a=1\n ; b=2\n\n\t\n#\xff") == {}


def test_the_first_of_two_wins_and_the_second_is_named_with_its_line():
    sections, findings = parsed("[net]\nwidth=1\nheight=2\nwidth=3\nheight=2")
    assert sections[0].options["width"].text == "1"
    assert [(f.code, f.where) for f in findings] == [("darknet.duplicate-option", "net.cfg:4")]


def test_a_key_without_a_value_hides_a_later_one_as_in_darknet():
    sections, findings = parsed("[net]\npad\npad=1\nstride=\n")
    assert sections[0].options["pad"].text is None
    assert "stride" not in sections[0].options
    assert [f.where for f in findings] == ["net.cfg:2", "net.cfg:3", "net.cfg:4"]


def test_lines_are_kept():
    sections, _ = parsed("# comment\n[net]\n\nwidth=1\n[convolutional]\nsize=3")
    assert [s.line for s in sections] == [2, 5]
    assert sections[1].options["size"].line == 6


def test_a_comment_may_be_in_any_encoding_and_an_option_may_not():
    sections, _ = parsed(b"[net]\n# \xc4\xe3\xba\xc3\nwidth=1\n")
    assert "width" in sections[0].options
    with pytest.raises(Malformed) as error:
        parsed(b"[net]\nwidth=1\nname=\xc4\xe3\n")
    assert (str(error.value.where), error.value.found) == ("net.cfg:3", "byte 0xc4 is not UTF-8")


def test_what_stands_behind_a_number_sign_may_be_in_any_encoding():
    sections, findings = parsed(b"[net]\nwidth=4 # \xe0 la carte\nheight=5\t#\xc4\xe3\n")
    assert [option.text[0] for option in sections[0].options.values()] == ["4", "5"]
    assert findings == []


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32"])
def test_wide_characters_are_named(encoding):
    with pytest.raises(Malformed, match=encoding[:6].upper()) as error:
        parsed("[net]\r\nwidth=416\r\nheight=416\r\n".encode(encoding))
    assert "UTF-8" in error.value.way_out


@pytest.mark.parametrize(
    ("text", "where"),
    [
        ("width=1\n[net]\n", "net.cfg:1"),
        ("[convolutional]\n", "net.cfg:1"),
        ("\n[net] # comment\n", "net.cfg:2"),
        ("# nothing\n", "net.cfg"),
        ("", "net.cfg"),
        (b"\0\0\0\0\2\0\0\0", "net.cfg"),
    ],
)
def test_what_is_no_cfg(text, where):
    with pytest.raises(Malformed) as error:
        parsed(text)
    assert str(error.value.where) == where


def test_a_byte_order_mark_is_skipped_with_a_warning():
    sections, findings = parsed(b"\xef\xbb\xbf[net]\nwidth=1")
    assert sections[0].name == "net"
    assert [f.code for f in findings] == ["darknet.byte-order-mark"]


def test_strict_makes_a_warning_an_error():
    with pytest.raises(Unsupported):
        parsed("[net]\nwidth=1\nwidth=2", strict=True)


@pytest.mark.parametrize(
    ("text", "number", "rest"),
    [
        ("6.9", 6, ".9"),
        ("1e2", 1, "e2"),
        ("-3", -3, ""),
        ("+4", 4, ""),
        ("12#comment", 12, "#comment"),
        ("two", 0, "two"),
        ("", 0, ""),
        ("0x10", 0, "x10"),
        ("2147483647", 2147483647, ""),
    ],
)
def test_whole_numbers_are_read_as_atoi_does(text, number, rest):
    assert atoi(text) == (number, rest)


@pytest.mark.parametrize("text", ["2147483648", "9" * 30, "-99999999999"])
def test_whole_numbers_beyond_32_bits(text):
    with pytest.raises(Malformed):
        atoi(text)


@pytest.mark.parametrize(
    ("text", "number", "rest"),
    [
        (".5", 0.5, ""),
        ("1e-4", 1e-4, ""),
        ("-2.", -2.0, ""),
        ("1e", 1.0, "e"),
        ("5#x", 5.0, "#x"),
        ("x", 0.0, "x"),
    ],
)
def test_numbers_are_read_as_atof_does(text, number, rest):
    assert atof(text) == (number, rest)


@pytest.mark.parametrize("text", ["inf", "nan", "-INF", "1e999", "1e39"])
def test_numbers_that_are_not_finite(text):
    with pytest.raises(Malformed):
        atof(text)


def test_files_that_cannot_be_read(tmp_path):
    with pytest.raises(Unreadable):
        read_bytes(tmp_path / "none.cfg")
    (tmp_path / "huge.cfg").write_bytes(b"#" * (LIMIT + 1))
    with pytest.raises(Malformed):
        read_bytes(tmp_path / "huge.cfg")


@pytest.mark.parametrize(
    ("head", "cfg"),
    [
        (b"[net]\nwidth=1", True),
        (b"\xef\xbb\xbf[network]", True),
        (b"# c\r\n\r\n [ net ]\r\n", True),
        (b"; c\n[convolutional]\n", True),
        (b'name: "net"\nlayer {', False),
        (b"# prototxt\nname: 1", False),
        (b"\x08\x07\x12", False),
        (b"", False),
        (b"# only a comment", False),
        (b"[1, 2]", False),
    ],
)
def test_sniff(head, cfg):
    assert sniff(head) is cfg
