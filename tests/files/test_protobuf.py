"""The wire: what is emitted is walked back; what is damaged is refused with the byte where it is, never with
another error."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bnfold.errors import Malformed
from bnfold.files import protobuf
from bnfold.files.protobuf import BYTES, END_GROUP, FIXED32, FIXED64, GROUP, VARINT

NUMBERS = st.integers(1, (1 << 29) - 1)
VALUES = st.integers(0, (1 << 64) - 1)
FIELDS = st.one_of(
    st.tuples(st.just(VARINT), NUMBERS, VALUES),
    st.tuples(st.just(BYTES), NUMBERS, st.binary(max_size=300)),
    st.tuples(st.just(FIXED32), NUMBERS, st.binary(min_size=4, max_size=4)),
    st.tuples(st.just(FIXED64), NUMBERS, st.binary(min_size=8, max_size=8)),
)
MESSAGES = st.lists(FIELDS, max_size=12)


def emitted(kind, number, payload) -> bytes:
    if kind == VARINT:
        return protobuf.number_field(number, payload)
    return protobuf.bytes_field(number, payload) if kind == BYTES else protobuf.key(number, kind) + payload


def group(number, *inside: bytes) -> bytes:
    return protobuf.key(number, GROUP) + b"".join(inside) + protobuf.key(number, END_GROUP)


@given(VALUES)
def test_a_varint_reads_back(value):
    encoded = protobuf.encode_varint(value)
    assert protobuf.varint(encoded + b"\x00", 0, len(encoded) + 1) == (value, len(encoded))


@pytest.mark.parametrize(
    ("value", "encoded"),
    [(0, "00"), (1, "01"), (127, "7f"), (128, "8001"), (300, "ac02"), ((1 << 64) - 1, "ff" * 9 + "01")],
)
def test_a_varint_is_protobufs(value, encoded):
    assert protobuf.encode_varint(value).hex() == encoded


def test_a_negative_number_takes_ten_bytes():
    (field,) = protobuf.fields(protobuf.number_field(3, -1))
    assert (field.value, field.end - field.start) == ((1 << 64) - 1, 10)


@given(MESSAGES, st.booleans())
def test_a_message_reads_back(message, mapped):
    data = b"".join(emitted(*field) for field in message)
    buffer = memoryview(data) if mapped else data
    walked = list(protobuf.fields(buffer))
    assert [
        (f.type, f.number, f.value if f.type == VARINT else bytes(buffer[f.start : f.end])) for f in walked
    ] == message
    assert b"".join(bytes(buffer[f.key : f.end]) for f in walked) == data


@given(MESSAGES, st.binary(max_size=20), st.binary(max_size=20))
def test_only_the_part_that_was_asked_for_is_read(message, before, after):
    data = b"".join(emitted(*field) for field in message)
    walked = list(protobuf.fields(before + data + after, len(before), len(before) + len(data)))
    assert len(walked) == len(message)
    assert all(len(before) <= f.key < f.end <= len(before) + len(data) for f in walked)


@given(MESSAGES.filter(bool), st.data())
def test_a_cut_is_noticed(message, data):
    """Cut inside a field: Malformed. Cut between two: a shorter message, which is why ONNX and Caffe readers
    check more than the walk."""
    parts = [emitted(*field) for field in message]
    whole = b"".join(parts)
    borders = {sum(map(len, parts[:n])) for n in range(len(parts) + 1)}
    cut = data.draw(st.integers(0, len(whole)))
    if cut in borders:
        assert len(list(protobuf.fields(whole[:cut]))) < len(message) or cut == len(whole)
    else:
        with pytest.raises(Malformed):
            list(protobuf.fields(whole[:cut]))


@given(st.binary(max_size=200))
def test_any_bytes_are_a_message_or_malformed(data):
    try:
        walked = list(protobuf.fields(data))
    except Malformed as error:
        assert str(error).isprintable()
    else:
        assert all(0 <= f.key < f.start <= f.end <= len(data) for f in walked)
        assert b"".join(data[f.key : f.end] for f in walked) == data


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"\x80" * 11, "the number at byte 0 does not end"),
        (b"\x08" + b"\xff" * 11, "the number at byte 1 does not end"),
        (b"\x08", "the number at byte 1 does not end"),
        (b"\x00\x01", "field number 0 at byte 0"),
        (b"\x0e", "wire type 6 at byte 0"),
        (b"\x0f", "wire type 7 at byte 0"),
        (b"\x0c", "wire type 4 at byte 0"),
        (b"\x0a\x05abc", "claims 5 bytes, 3 are left"),
        (protobuf.header(1, 1 << 62) + b"abc", "claims 4,611,686,018,427,387,904 bytes, 3 are left"),
        (b"\x0d\x00\x00\x00", "claims 4 bytes, 3 are left"),
        (b"\x09\x00", "claims 8 bytes, 1 are left"),
        (protobuf.number_field(1, 7) + b"\x0e", "wire type 6 at byte 2"),
    ],
    ids=range(12),
)
def test_damage_is_named_with_its_byte(data, words):
    with pytest.raises(Malformed, match=words):
        list(protobuf.fields(data))


def test_offsets_are_those_of_the_buffer():
    (field,) = protobuf.fields(b"\xff\xff" + protobuf.bytes_field(5, b"abc"), 2)
    assert (field.number, field.key, field.start, field.end) == (5, 2, 4, 7)


@given(st.lists(FIELDS, max_size=4), NUMBERS, NUMBERS)
def test_a_group_is_one_field_whatever_is_in_it(inside, number, inner):
    content = b"".join(emitted(*field) for field in inside)
    data = group(number, content, group(inner, content)) + protobuf.number_field(9, 1)
    first, second = protobuf.fields(data)
    assert (first.number, first.type, first.key) == (number, GROUP, 0)
    assert (second.number, second.value) == (9, 1)


def test_deep_groups_do_not_recurse():
    depth = 100_000
    data = protobuf.key(1, GROUP) * depth + protobuf.key(1, END_GROUP) * depth
    (field,) = protobuf.fields(data)
    assert field.end == len(data)


@pytest.mark.parametrize(
    "data",
    [
        protobuf.key(1, GROUP),
        protobuf.key(1, GROUP) * 3 + protobuf.key(1, END_GROUP) * 2,
        protobuf.key(1, GROUP) + protobuf.key(2, END_GROUP),
        protobuf.key(1, GROUP) + protobuf.header(2, 50) + b"abc",
        protobuf.key(1, GROUP) + b"\x80",
    ],
    ids=["open", "one open", "crossed", "cut inside", "cut key"],
)
def test_a_damaged_group_is_malformed(data):
    with pytest.raises(Malformed):
        list(protobuf.fields(data))


def test_protobuf_reads_what_is_emitted():
    onnx = pytest.importorskip("onnx")
    opset = protobuf.bytes_field(1, b"ai.onnx") + protobuf.number_field(2, 17)
    model = onnx.ModelProto.FromString(
        protobuf.number_field(1, 8) + protobuf.bytes_field(2, b"bnfold") + protobuf.bytes_field(8, opset)
    )
    assert (model.ir_version, model.producer_name) == (8, "bnfold")
    assert (model.opset_import[0].domain, model.opset_import[0].version) == ("ai.onnx", 17)
