"""Source: the text that is stamped on a node says where it came from, and reads back as the same place."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bnfold.ir.provenance import Source, parse

EXAMPLES = {
    "deploy.prototxt:14 conv1 (Convolution)": Source(
        "deploy.prototxt", line=14, name="conv1", type="Convolution"
    ),
    "deploy.prototxt:14:3 conv1 (Convolution)": Source(
        "deploy.prototxt", line=14, column=3, name="conv1", type="Convolution"
    ),
    "deploy.prototxt:14 (Convolution)": Source("deploy.prototxt", line=14, type="Convolution"),
    "deploy.prototxt:14": Source("deploy.prototxt", line=14),
    "yolov4.cfg:31 [convolutional] #12": Source("yolov4.cfg", line=31, type="convolutional", index=12),
    "yolov4.cfg:31:2 [convolutional] #12": Source(
        "yolov4.cfg", line=31, column=2, type="convolutional", index=12
    ),
    "model.onnx#17 conv1 (Conv)": Source("model.onnx", index=17, name="conv1", type="Conv"),
    "model.onnx#0 (Conv)": Source("model.onnx", index=0, type="Conv"),
    "model.onnx": Source("model.onnx"),
    "model.onnx#17 conv1:0 (Conv)": Source("model.onnx", index=17, name="conv1:0", type="Conv"),
    "net.prototxt:14 conv#3 (Convolution)": Source(
        "net.prototxt", line=14, name="conv#3", type="Convolution"
    ),
    "C:\\nets\\net.cfg:31 [net] #0": Source("C:\\nets\\net.cfg", line=31, type="net", index=0),
    "dir:3/net.prototxt:14 res2a_branch1/bn (BatchNorm)": Source(
        "dir:3/net.prototxt", line=14, name="res2a_branch1/bn", type="BatchNorm"
    ),
    "net.prototxt:9 a layer (of mine) (ReLU)": Source(
        "net.prototxt", line=9, name="a layer (of mine)", type="ReLU"
    ),
}
FILES = st.from_regex(r"[a-zA-Z0-9_./-]{1,12}\.(onnx|cfg|prototxt)", fullmatch=True)
NAMES = st.from_regex(r"[a-zA-Z0-9_./:#-]([a-zA-Z0-9_./:#\n -]{0,10}[a-zA-Z0-9_./:#-])?", fullmatch=True)
TYPES = st.from_regex(r"[A-Za-z0-9_]{1,12}", fullmatch=True)
NUMBERS = st.integers(1, 10**9 - 1)


@pytest.mark.parametrize(("text", "source"), EXAMPLES.items())
def test_to_text_and_back(text, source):
    assert str(source) == text
    assert parse(text) == source


@given(FILES, NUMBERS, st.none() | NUMBERS, NAMES, TYPES)
def test_every_caffe_layer_survives(file, line, column, name, kind):
    source = Source(file, line, column, name=name, type=kind)
    assert parse(str(source)) == source


@given(FILES, NUMBERS, TYPES, st.integers(0, 10**6))
def test_every_darknet_section_survives(file, line, kind, index):
    source = Source(file, line, type=kind, index=index)
    assert parse(str(source)) == source


@given(FILES, st.integers(0, 10**6), NAMES | st.just(""), TYPES)
def test_every_onnx_node_survives(file, index, name, kind):
    source = Source(file, index=index, name=name, type=kind)
    assert parse(str(source)) == source


@given(st.text())
def test_any_text_is_a_source(text):
    """Other tools may write anything under our key: never an error."""
    assert isinstance(parse(text), Source)


def test_a_number_that_no_file_has_is_text():
    """Python refuses to read 5,000 digits as a number."""
    text = f"net.cfg:{'9' * 5000}"
    assert parse(text) == Source(text)


def test_a_long_text_of_others_is_read_in_one_go():
    found = parse("a:1 [" * 200_000)
    assert (found.file, found.line) == ("a", 1)


def test_a_file_name_that_no_encoding_knows_becomes_text() -> None:
    assert str(Source("a\udcff.onnx", index=1, name="c", type="Conv")) == "a\\udcff.onnx#1 c (Conv)"
