"""Text format: what the real parser accepts and refuses, with protobuf's own text_format as an independent
judge of our tree."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, text_format

from bnfold.errors import Malformed
from bnfold.reading.caffe.prototxt import Message, Text, parse, sniff
from bnfold.reading.caffe.schema import Node, typed
from bnfold.reading.caffe.table import ENUMS, MESSAGES

SCALARS = {
    "double": 1,
    "float": 2,
    "int64": 3,
    "uint64": 4,
    "int32": 5,
    "bool": 8,
    "string": 9,
    "bytes": 12,
    "uint32": 13,
}
LABELS = {"optional": 1, "required": 2, "repeated": 3}


@pytest.fixture(scope="module")
def judge():
    """protobuf's NetParameter, built of our table."""
    file = descriptor_pb2.FileDescriptorProto(name="caffe.proto", package="caffe", syntax="proto2")
    scopes = {"": file}
    for name in sorted(MESSAGES, key=lambda n: n.count(".")):
        outer, _, short = name.rpartition(".")
        message = (scopes[outer].nested_type if outer else file.message_type).add(name=short)
        scopes[name] = message
        for field, (number, label, type_, _, _) in MESSAGES[name].items():
            added = message.field.add(name=field, number=number, label=LABELS[label])
            if type_ in SCALARS:
                added.type = SCALARS[type_]
            else:
                added.type, added.type_name = (11 if type_ in MESSAGES else 14), f".caffe.{type_}"
    for name, values in ENUMS.items():
        outer, _, short = name.rpartition(".")
        enum = (scopes[outer].enum_type if outer else file.enum_type).add(name=short)
        for value, number in values.items():
            enum.value.add(name=value, number=number)
        if len(set(values.values())) < len(values):
            enum.options.allow_alias = True
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("caffe.NetParameter"))


def read(text: str | bytes, type_: str = "NetParameter"):
    source = Text(text.encode() if isinstance(text, str) else text, Path("net.prototxt"))
    return typed(parse(source), type_, source, lambda node, entry: None)


def as_dict(node: Node):
    out = {}
    for name, given in node.fields.items():
        values = [as_dict(g.value) if isinstance(g.value, Node) else g.value for g in given]
        out[name] = values if MESSAGES[node.type][name][1] == "repeated" else values[0]
    return dict(sorted(out.items()))


def judged(message):
    out = {}
    for field, value in message.ListFields():
        many = not isinstance(value, (str, bytes)) and hasattr(value, "__len__") and field.type != 11
        many = many or (field.type == 11 and hasattr(value, "__len__"))
        values = [
            judged(v)
            if field.type == 11
            else field.enum_type.values_by_number[v].name
            if field.type == 14
            else v
            for v in (value if many else [value])
        ]
        out[field.name] = values if many else values[0]
    return dict(sorted(out.items()))


QUIRKS = [
    'name: "a" "b" \'c\'',
    "name: 'tab\\t quote\\' \\x41\\101 \\\\'  # a comment",
    'layer { name: "x" type: "Convolution" convolution_param < num_output: 0x10 pad: 010 '
    "kernel_size: [3, 5]; stride: 2, > }",
    'layer: { name: "x"; type: "Scale", scale_param { axis: -1 bias_term: True filler { value: '
    "1.5f } bias_filler { value: .5 } } }",
    'layer { type: "Pooling" pooling_param { pool: 1 kernel_size: 3 global_pooling: f } }',
    'layer { type: "Pooling" pooling_param { pool: AVE } } layer { type: "Pooling" pooling_param { '
    "pool: MAX global_pooling: t } }",
    'layer { type: "Power" power_param { power: -1e-3 scale: 2. shift: -3 } }',
    'input: "data" input_dim: 1 input_dim: 3 input_dim: [4, 5]',
    "layers { type: CONVOLUTION blobs_lr: 1 blobs_lr: 2. } layers { type: 17 }",
    'layer { type: "Input" input_param { shape: [{ dim: 1 }, { dim: [2, 3] }] } }',
    'layer { type: "Clip" clip_param { min: -inf max: nan } }',
    "",
    "\ufeff# only a comment",
]


@pytest.mark.parametrize("text", QUIRKS)
def test_it_reads_what_protobuf_reads(judge, text):
    want = judged(text_format.Parse(text.removeprefix("\ufeff"), judge()))
    assert repr(as_dict(read(text))) == repr(want)  # repr: NaN equals NaN


REFUSED = [
    ('layer { name: "a"', 1, 1, "never closed"),
    ("layer { name: a }", 1, 9, "quoted string"),
    ('layers { type: "CONVOLUTION" }', 1, 10, "without quotes"),
    ("layer { type: Convolution }", 1, 9, "quoted string"),
    ('layer {\n  name: "a"\n  name: "b" }', 3, 3, "twice"),
    ("layer {\n convolution_param { }\n convolution_param { } }", 3, 2, "twice"),
    ('layer { convolution_param { num_output: "3" } }', 1, 29, "whole number"),
    ("layer { convolution_param { num_output: -3 } }", 1, 29, "from 0 to 4294967295"),
    ("layer { convolution_param { num_output: 3.5 } }", 1, 29, "whole number"),
    ("layer { convolution_param { num_output: 99999999999 } }", 1, 29, "uint32"),
    ("layer { convolution_param: 3 }", 1, 9, "a message"),
    ("layer { pooling_param { pool: BEST } }", 1, 25, "MAX"),
    ("layer { pooling_param { global_pooling: yes } }", 1, 25, "true or false"),
    ("name { }", 1, 1, "a message"),
    ('name: "a\nb"', 1, 7, "ends on its line"),
    ("layer { } }", 1, 11, "field begins"),
    ("layer [ }", 1, 7, "':' or '{'"),
    ("input_dim: [1, 2", 1, 17, "',' or ']'"),
    ("input: ", 1, 8, "end of the file"),
    ('layer { type: "Clip" clip_param { min: 1 } }', 1, 22, "'max' is missing"),
    ("name: 1abc", 1, 7, "no part of text format"),
    ("\x00\x01", 1, 1, "no part of text format"),
]


@pytest.mark.parametrize(("text", "line", "column", "words"), REFUSED)
def test_it_refuses_with_the_place(text, line, column, words):
    with pytest.raises(Malformed) as caught:
        read(text)
    assert str(caught.value).startswith(f"net.prototxt:{line}:{column}: ")
    assert words in str(caught.value)


def test_protobuf_refuses_these_too(judge):
    for text, *_ in REFUSED[:18]:
        with pytest.raises(text_format.ParseError):
            text_format.Parse(text, judge())


def test_bytes_that_are_not_utf8_may_stand_in_comments_alone():
    assert read(b'# \xff\xfe \xb2\xe2\xca\xd4\nname: "a"').get("name") == "a"
    with pytest.raises(Malformed, match=r"net.prototxt:1:7: a string that is not UTF-8"):
        read(b'name: "\xb2\xe2"')


def test_unknown_fields_stay_in_the_tree_and_are_told():
    told = []
    source = Text(b'layer { name: "a" what { is: "this" } }', Path("n"))
    net = typed(
        parse(source),
        "NetParameter",
        source,
        lambda node, entry: told.append((node.type, entry.name, source.position(entry.at))),
    )
    assert told == [("LayerParameter", "what", (1, 19))]
    assert isinstance(net.all("layer")[0].unknown[0].value, Message)


def test_an_engine_of_some_fork_is_no_error():
    net = read('layer { type: "Softmax" softmax_param { engine: TPU } relu_param { engine: MKLDNN } }')
    assert net.all("layer")[0].get("softmax_param").get("engine") == "TPU"
    with pytest.raises(Malformed, match="without quotes"):
        read('layer { softmax_param { engine: "TPU" } }')


def test_deep_nesting_is_read_without_a_stack():
    depth = 200_000
    source = Text(b"a {" * depth + b"}" * depth, Path("deep"))
    assert len(parse(source).entries) == 1
    with pytest.raises(Malformed, match="never closed"):
        parse(Text(b"a {" * depth, Path("deep")))


def test_ten_thousand_lines_in_half_a_second():
    fields = [
        'name: "conv"',
        'type: "Convolution"',
        'bottom: "a"',
        'top: "b"',
        "convolution_param {",
        "  num_output: 64",
        "  pad: 1",
        "}",
    ]
    one = "\n".join(["layer {", *(f"  {field}" for field in fields), "}\n"])
    text = one * 1000
    read(text)
    begin = time.process_time()
    read(text)
    assert time.process_time() - begin < 0.5


@pytest.mark.parametrize(
    ("head", "is_one"),
    [
        (b'name: "x"', True),
        (b"# comment\n\nlayer {", True),
        (b"layers\n{", True),
        (b'\xef\xbb\xbfinput: "data"', True),
        (b"layer<", True),
        (b"[net]\nbatch=1", False),
        (b"\x0a\x03net", False),
        (b"net: 'x.prototxt'", False),
        (b"key: value", False),
        (b"", False),
        (b"# only words", False),
        (b"\x08\x07\x12\x04", False),
        (b"name = 3", False),
        (b"\n\n#\n" * 1000 + b"@", False),  # every way of reading many empty lines was tried
    ],
)
def test_sniff(head, is_one):
    assert sniff(head) is is_one
