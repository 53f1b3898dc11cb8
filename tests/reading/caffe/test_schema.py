"""The table is what proto/caffe.proto says, and the signature of every layer function is its schema."""

from __future__ import annotations

import ctypes
import importlib.util
from pathlib import Path

import pytest

from bnfold.reading.caffe import layers as built_in
from bnfold.reading.caffe.registry import LAYERS, keywords
from bnfold.reading.caffe.table import ENUMS, MESSAGES

ROOT = Path(__file__).resolve().parents[3]
READING = sorted((name, kind) for name, kind in LAYERS.items() if kind.params and built_in)


def generator():
    spec = importlib.util.spec_from_file_location("generate", ROOT / "proto" / "generate.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_table_is_current():
    generate = generator()
    assert generate.TABLE.read_text() == generate.render(*generate.read(generate.PROTO.read_text()))


def test_a_line_that_the_generator_does_not_understand_is_told():
    with pytest.raises(SystemExit, match="not understood"):
        generator().read("message A {\n  map<int32, string> b = 1;\n}")


def test_every_type_is_known_and_numbers_are_unique():
    scalars = {"int32", "int64", "uint32", "uint64", "float", "double", "bool", "string", "bytes"}
    for message, fields in MESSAGES.items():
        assert all(row[2] in scalars | MESSAGES.keys() | ENUMS.keys() for row in fields.values()), message
        numbers = [row[0] for row in fields.values()]
        assert len(set(numbers)) == len(numbers), message


@pytest.mark.parametrize(("name", "kind"), READING, ids=[name for name, _ in READING])
def test_the_signature_is_the_schema(name, kind):
    fields = {}
    for param in kind.params:
        fields.update(MESSAGES[MESSAGES["LayerParameter"][param][2]])
    options = {option.name.rstrip("_"): option for option in keywords(kind.function)}
    assert set(options) | set(kind.ignored) == set(fields), (
        "a field is neither read nor ignored with a reason"
    )
    assert not set(options) & set(kind.ignored)
    assert all(kind.ignored.values())
    for field, option in options.items():
        _, label, type_, default, _ = fields[field]
        if label == "repeated":
            default = ()
        elif type_ == "float" and default is not None:
            assert ctypes.c_float(option.default).value == ctypes.c_float(default).value
            continue
        assert (None if option.default is option.empty else option.default) == default, field


@pytest.mark.parametrize("name", sorted(LAYERS))
def test_every_type_says_what_it_is(name):
    kind = LAYERS[name]
    assert kind.about
    assert (kind.function is None) == (kind.role == "training")
