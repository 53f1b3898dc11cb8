"""Text format: what the real parser accepts and refuses, with protobuf's own text_format as an independent
judge of our tree."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, text_format

from bnfold.errors import Malformed
from bnfold.reading.caffe.prototxt import Message, Text, parse, sniff
from bnfold.reading.caffe.schema import Node, strange, typed
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
    return typed(parse(source), type_, source)


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
    ("layer { pooling_param { pool: 17 } }", 1, 25, "MAX"),
    ("layer { include { phase: BEST } }", 1, 19, "TEST"),
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


def test_bytes_that_are_not_utf8_may_stand_in_comments_and_in_strings_that_nothing_reads():
    assert read(b'# \xff\xfe \xb2\xe2\xca\xd4\nname: "a"').get("name") == "a"
    net = read(b'layer { data_param { source: "D:\\\\\xb2\xe2" batch_size: 3 } }')
    assert net.all("layer")[0].get("data_param").get("batch_size") == 3


def test_what_the_schema_does_not_know_stays_in_the_tree():
    net = read('layer { name: "a" what { is: "this" } pooling_param { pool: BEST blur: 2 } }')
    told = [(path, node.type, entry.name) for path, node, entry in strange(net)]
    assert told == [
        ("layer.what", "LayerParameter", "what"),
        ("layer.pooling_param.blur", "PoolingParameter", "blur"),
        ("layer.pooling_param.pool", "PoolingParameter", "pool"),
    ]
    assert isinstance(net.all("layer")[0].unknown[0].value, Message)
    assert net.all("layer")[0].get("pooling_param").get("pool") == "BEST"


def test_lists_of_messages_need_no_colon():
    net = read("layer { param [ { lr_mult: 1 }, { lr_mult: 2 } ] param: [ { lr_mult: 3 } ] }")
    assert [spec.get("lr_mult") for spec in net.all("layer")[0].all("param")] == [1, 2, 3]


STRAY = {
    "name: \u201ca\u201d": "a typographic quotation mark (left double quotation mark, U+201C)",
    "name: \u2018a\u2019": "a typographic quotation mark",
    "name:\u00a0'a'": "no-break space, U+00A0, which is no part of text format; expected a space",
    "name\uff1a 'a'": "fullwidth colon, U+FF1A, which is no part of text format; expected ':'",
    "name: 'a'\u200b": "zero width space, U+200B",
    "// a net": "a comment that begins with '//'; expected a comment that begins with '#'",
    "/* a net */": "a comment that begins with '/*'",
    "name: &quot;a&quot;": "'&quot;', an entity of HTML",
}


@pytest.mark.parametrize("text", STRAY)
def test_what_web_pages_and_editors_put_in_is_named_with_its_line(text):
    with pytest.raises(Malformed) as caught:
        read(f"input: 'x'\n{text}")
    assert STRAY[text] in str(caught.value)
    assert str(caught.value).startswith("net.prototxt:2:")


def test_a_quotation_mark_of_windows_is_named():
    with pytest.raises(
        Malformed, match=r"a typographic quotation mark \(left double quotation mark, U\+201C"
    ):
        read(b"name: \x93a\x94")


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be"])
def test_utf_16_is_named(tmp_path, encoding):
    path = tmp_path / "net.prototxt"
    path.write_bytes("name: 'a'".encode(encoding))
    with pytest.raises(Malformed, match=r"net.prototxt:1:1: the text is encoded as UTF-16"):
        Text.from_file(path)


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
