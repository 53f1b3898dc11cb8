"""A list of models with options of their own: TOML or CSV, told from a model by its name.

    [defaults]                          model,weights,name,heads,samples
    samples = 2                         yolo.cfg,yolo.weights,,boxes,2
    [[model]]                           zoo/*.onnx,,,,5
    model = "yolo.cfg"
    heads = "boxes"

Rule 1: a key is an option of the command line without its dashes, from the same rows; besides there are
        `model`, `weights` and `name`.
Rule 2: paths are relative to the manifest, which may itself be a URL.
Rule 3: every fault is found at once, each with its line: tomllib tells no lines, so the headers and keys of
        the text are counted. Where they are not written one on a line (inline tables), the place is the line
        that they begin on.
"""

from __future__ import annotations

import csv
import io
import os
import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import field, replace
from pathlib import Path
from typing import Any

from ..batch import downloads
from ..batch.locations import folder_of, joined, redacted, store_of
from ..errors import Malformed, Unreadable
from ..files.discovery import is_url, suffix
from ..files.names import inside, safe_part
from ..records import dataclass
from ..results.value_kinds import Wrong, cannot_be, did_you_mean
from .options import FOLD, READ, RECALIBRATE, VERIFY, WRITE, Row
from .toml_lines import Lines, Section

SUFFIXES = (".toml", ".csv")
KEYS: dict[str, Row] = {
    row.flag.removeprefix("--"): row
    for group in (READ, FOLD, RECALIBRATE, VERIFY, WRITE)
    for row in group
    if row.name != "keep_failed"
}  # a batch keeps what passed alone
ROWS = {row.name: row for row in KEYS.values()}
OWN = ("model", "weights", "name")
OF_FILES = ("inputs", "recalibrate")  # options that name files
SEVERAL = ";"  # between the values of an option that may be given more than once, in a cell
FORMATS = {".onnx": "onnx", ".prototxt": "caffe", ".pbtxt": "caffe", ".cfg": "darknet"}
_LARGEST = 1 << 24  # bytes
_EXPECTED = "a manifest of models"


@dataclass(frozen=True)
class Entry:
    """One line of a manifest: a model (or a folder, or a pattern), and its own options as the command line
    would pass them."""

    model: str
    weights: str | None
    name: str
    values: Mapping[str, Any]
    where: str


class Faults(Malformed):
    """Everything that is wrong with a manifest; the error itself is the first of it."""

    def __init__(self, all: Sequence[Malformed]) -> None:
        first = all[0]
        more = f"{len(all) - 1} more faults stand above" if len(all) > 1 else ""
        super().__init__(
            first.found, where=first.where, expected=first.expected, way_out=more or first.way_out
        )
        self.all = all


@dataclass
class _Table:
    """What a file says of one model (or of all, by default): key -> (value, where it stands)."""

    where: str
    keys: dict[str, tuple[Any, str]] = field(default_factory=dict)


def is_manifest(place: str) -> bool:
    """By its name: no model is called so."""
    return suffix(place) in SUFFIXES


def read(place: str) -> list[Entry]:
    """The entries of a manifest. Raises Unreadable, and Faults with every fault at its line."""
    data = store_of(place).read(place, _LARGEST)
    if data is None:
        raise Unreadable(
            f"cannot be read, or has more than {_LARGEST:,} bytes", where=redacted(place), expected=_EXPECTED
        )
    shown = redacted(place)
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise Malformed("is not UTF-8 text", where=f"{shown}:{line}", expected=_EXPECTED) from error
    faults: list[Malformed] = []
    defaults, tables = (_toml if suffix(place) == ".toml" else _csv)(text, shown, faults)
    folder = folder_of(place)
    common = _values(defaults, folder, faults, own=False)
    entries = [entry for table in tables if (entry := _entry(table, common, folder, faults)) is not None]
    for entry in entries:
        faults += _misnamed(place, entry)
    if faults:
        raise Faults(sorted(faults, key=_line))
    if not entries:
        raise Malformed("names no model", where=shown, expected=_EXPECTED)
    return entries


def values_of(table: Mapping[str, Any], section: Section, folder: str) -> dict[str, Any]:
    """A table of options of 'bnfold fold', as the command line would pass them. Raises Faults."""
    faults: list[Malformed] = []
    found = _Table(section.where, {key: (value, section.key(key)) for key, value in table.items()})
    values = _values(found, folder, faults, own=False, command="fold")
    if faults:
        raise Faults(sorted(faults, key=_line))
    return values


def _line(fault: Malformed) -> int:
    return int(next(iter(re.findall(r":(\d+)", str(fault.where).rpartition("/")[2])), 0))


def _entry(table: _Table, common: Mapping[str, Any], folder: str, faults: list[Malformed]) -> Entry | None:
    before = len(faults)
    own = {key: _own(key, *table.keys[key], faults) for key in OWN if key in table.keys}
    values = _values(table, folder, faults, own=True)
    model = own.get("model", "")
    if "model" not in table.keys:
        faults.append(
            Malformed(
                "names no model", where=table.where, expected="a key 'model' with a path, a pattern or a URL"
            )
        )
    for key in table.keys:
        row, kind = KEYS.get(key), FORMATS.get(suffix(model), "")
        if row is not None and not row.fits(kind):
            faults.append(
                Malformed(
                    f"'{key}' is for {row.option.models}, and this one is {kind}",
                    where=table.keys[key][1],
                    way_out="leave it out",
                )
            )
    if len(faults) > before:
        return None
    weights = own.get("weights")
    return Entry(
        _from(folder, model),
        _from(folder, weights) if weights else None,
        own.get("name", ""),
        {**common, **values},
        table.where,
    )


def _misnamed(manifest: str, entry: Entry) -> Iterator[Malformed]:
    """What a manifest from a server may not name."""
    plain = "/".join(map(safe_part, entry.name.split("/"))) if entry.name else ""
    if is_url(manifest) and entry.name != plain:
        yield Malformed(f"'name' is {entry.name!r}"[:200], where=entry.where, expected=f"such as {plain!r}")
    if is_url(manifest) and any("mean_file=" in text for text in entry.values.get("bake_input", ())):
        yield Malformed(
            "a mean_file is named",
            where=entry.where,
            expected="no file of this machine in a manifest from a server",
            way_out="a copy of the manifest on this machine, which you have read, may name one",
        )
    texts = (text for name in OF_FILES for text in entry.values.get(name, ()))
    inputs = (text.partition(":")[2] or text for text in texts)
    for place in (entry.model, *filter(None, [entry.weights]), *inputs):
        why = downloads.misnamed(manifest, place, downloads.rules().other_hosts)
        if why:
            yield Malformed(
                f"'{redacted(place)}' {why}",
                where=entry.where,
                expected="what lies on the server of the manifest",
                way_out="a copy of the manifest on this machine, which you have read, may name anything",
            )


def _own(key: str, value: Any, where: str, faults: list[Malformed]) -> str:
    fits = isinstance(value, str) and value.strip() and "\0" not in value
    is_safe = key != "name" or (fits and _names_outputs(value))
    if fits and is_safe:
        return str(value.replace(os.sep, "/") if key == "name" else value)
    expected = (
        "a name for the outputs, below the folder of all outputs" if key == "name" else "a path or a URL"
    )
    faults.append(Malformed(f"'{key}' is {value!r}"[:200], where=where, expected=expected))
    return ""


def _names_outputs(value: str) -> bool:
    """Is this a name below the folder of all outputs, and not only that of a folder?"""
    last = value.replace("\\", "/").rpartition("/")[2]
    return inside(value) and last not in ("", ".") and value.isprintable() and not is_url(value)


def _from(folder: str, place: str) -> str:
    return (
        place
        if is_url(place) or Path(place).is_absolute() or folder in ("", os.curdir)
        else joined(folder, place)
    )


# From values in a file to what click would have passed.


def _values(
    table: _Table, folder: str, faults: list[Malformed], *, own: bool, command: str = "batch"
) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, (value, where) in table.keys.items():
        if key in OWN and own:
            continue
        if key not in KEYS:
            known = [*(OWN if own else ()), *KEYS]
            faults.append(
                Malformed(
                    f"unknown key '{key}'",
                    where=where,
                    expected=f"an option of 'bnfold {command} --help' without its dashes",
                    way_out=did_you_mean(key, known),
                )
            )
            continue
        try:
            found |= _written(KEYS[key], value, folder)
        except Wrong as wrong:
            faults.append(
                Malformed(
                    cannot_be(f"'{key}'", value), where=where, expected=wrong.expected, way_out=wrong.way_out
                )
            )
    return found


def _written(row: Row, value: Any, folder: str) -> dict[str, Any]:
    """The option as click passes it. Raises Wrong, also for what the option cannot be."""
    made: Any
    if row.is_switch:
        return {row.name: _switch(row, value)}
    several = value if isinstance(value, list) else [value]
    if row.option.kind.repeatable:
        made = tuple(_text(row, one) for one in several)
    else:
        made = ",".join(_text(row, one) for one in several)
    if row.name in OF_FILES:
        made = tuple(_input(one, folder) for one in made)
    if row.name == "bake_input":
        made = tuple(_baked(one, row, folder) for one in made)
    row.value(made)
    return {row.name: made}


def _switch(row: Row, value: Any) -> Any:
    kind = row.option.kind
    return value if isinstance(value, bool) else kind.parse(str(value))


def _text(row: Row, value: Any) -> str:
    if isinstance(value, bool) or not isinstance(value, (str, int, float)):
        raise Wrong(row.option.kind.written)
    return str(value)


def _input(text: str, folder: str) -> str:
    """`name:file` with the file found from the manifest."""
    name, colon, file = text.partition(":")
    if not colon or Path(_from(folder, text)).exists():
        name, file = "", text
    return f"{name}:{_from(folder, file)}" if file else text


def _baked(text: str, row: Row, folder: str) -> str:
    """A preprocessing with its mean image found from the manifest. Raises Wrong."""
    ((name, asked),) = row.value((text,))
    if asked.mean_file:
        asked = replace(asked, mean_file=_from(folder, asked.mean_file))
    return f"{name}:{asked}" if name else str(asked)


# CSV.


def _csv(text: str, shown: str, faults: list[Malformed]) -> tuple[_Table, list[_Table]]:
    """The first line names the keys; an empty cell says nothing."""
    tables: list[_Table] = []
    reader = csv.reader(io.StringIO(text), strict=True, skipinitialspace=True)
    head: list[str] = []
    line = 1
    try:
        for row in reader:
            where, line = f"{shown}:{line}", reader.line_num + 1
            if not any(cell.strip() for cell in row) or row[0].startswith("#"):
                continue
            if not head:
                head = [cell.strip() for cell in row]
                faults.extend(_of_head(head, where))
                continue
            if len(row) > len(head):
                faults.append(
                    Malformed(
                        f"{len(row)} cells",
                        where=where,
                        expected=f"at most {len(head)}, as in the first line",
                        way_out="a value with commas in it stands in double quotes",
                    )
                )
            cells = {key: cell.strip() for key, cell in zip(head, row, strict=False) if cell.strip()}
            tables.append(_Table(where, {key: (_cell(key, cell), where) for key, cell in cells.items()}))
    except csv.Error as error:
        faults.append(Malformed(f"is not CSV ({error})", where=f"{shown}:{line}", expected=_EXPECTED))
    return _Table(shown), tables if not any(str(fault.where).endswith(":1") for fault in faults) else []


def _of_head(head: Sequence[str], where: str) -> Iterator[Malformed]:
    if "model" not in head:
        other = next((sign for sign in (";", "\t") if sign in "".join(head)), "")
        yield Malformed(
            "the first line names no column 'model'",
            where=where,
            expected="model,weights,name, and options",
            way_out=f"cells are separated by commas, not by {other!r}" if other else "",
        )
    for key in {key for key in head if head.count(key) > 1}:
        yield Malformed(f"the column '{key}' stands there twice", where=where, expected="each once")
    if "" in head:
        yield Malformed("a column has no name", where=where, expected="model,weights,name, and options")


def _cell(key: str, cell: str) -> Any:
    row = KEYS.get(key)
    return (
        [part.strip() for part in cell.split(SEVERAL)]
        if row is not None and row.option.kind.repeatable
        else cell
    )


# TOML.


def _toml(text: str, shown: str, faults: list[Malformed]) -> tuple[_Table, list[_Table]]:
    try:
        document = tomllib.loads(text)
    except (ValueError, RecursionError) as error:
        place = re.search(r"\(at line (\d+), column (\d+)\)", str(error))
        where = (
            f"{shown}:{place[1]}:{place[2]}" if place else f"{shown}:{text.count(chr(10)) + 1}"
        )  # else it says: at its end
        faults.append(
            Malformed(f"is not TOML ({str(error).partition(' (at ')[0]})", where=where, expected=_EXPECTED)
        )
        return _Table(shown), []
    lines = Lines(text, shown)
    for key in document:
        if key not in ("defaults", "model"):
            faults.append(
                Malformed(
                    f"unknown key '{key}'",
                    where=lines.top(key),
                    expected="a table [defaults], and [[model]] for each",
                )
            )
    models, defaults = document.get("model", []), document.get("defaults", {})
    if not isinstance(models, list) or not all(isinstance(one, dict) for one in models):
        faults.append(
            Malformed(
                "'model' is no list of tables", where=lines.top("model"), expected="[[model]] before each"
            )
        )
        models = []
    if not isinstance(defaults, dict):
        faults.append(Malformed("'defaults' is no table", where=lines.top("defaults"), expected="[defaults]"))
        defaults = {}
    tables = []
    for index, one in enumerate(models):
        at = lines.model(index, len(models))
        tables.append(_Table(at.where, {key: (value, at.key(key)) for key, value in one.items()}))
    at = lines.section("defaults")
    return _Table(at.where, {key: (value, at.key(key)) for key, value in defaults.items()}), tables
