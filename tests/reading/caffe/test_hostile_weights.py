"""Weights files that are damaged or absurd, and how fast sound ones are walked."""

from __future__ import annotations

import resource
import time

import numpy as np
import pytest

from bnfold.errors import InputError, Unreadable
from bnfold.files.protobuf import bytes_field, encode_varint, header, key, number_field
from bnfold.reading.caffe.caffemodel import load

from .files import Net, blob, caffemodel, input_layer, layer, normal

X = input_layer("x", 2, 3, 4, 4)
CONV = layer("Convolution", "x", "c", "convolution_param { num_output: 4 kernel_size: 2 }", name="conv")
WEIGHTS = {"conv": [normal(4, 3, 2, 2), normal(4)]}


def stored_blob(payload):
    return bytes_field(1, b"n") + bytes_field(100, bytes_field(1, b"conv") + bytes_field(7, payload))


HOSTILE = {
    "a whole file cut off": caffemodel(WEIGHTS)[:-30],
    "a length beyond the end": bytes_field(1, b"n") + header(100, 1 << 40),
    "a varint that does not end": b"\x0a" + b"\xff" * 12,
    "values that do not fill their type": stored_blob(bytes_field(5, b"\x00" * 7)),
    "a shape of a terabyte": stored_blob(
        bytes_field(7, bytes_field(1, encode_varint(1 << 40))) + bytes_field(5, b"\x00" * 8)
    ),
    "a negative dimension": stored_blob(bytes_field(7, number_field(1, -4)) + bytes_field(5, b"")),
    "a hundred dimensions": stored_blob(
        bytes_field(7, bytes_field(1, b"\x01" * 100)) + bytes_field(5, b"\x00" * 4)
    ),
    "values as text": stored_blob(number_field(5, 7)),
    "raw data of no type": stored_blob(number_field(10, 9) + bytes_field(12, b"\x00" * 4)),
    "raw data cut off": stored_blob(number_field(10, 2) + bytes_field(12, b"\x00" * 3)),
    "a name that is not text": bytes_field(100, bytes_field(1, b"\xff\xfe")),
    "nothing of a network": number_field(9, 1),
    "text": b"layer { }",
    "zeros": b"\x00" * 64,
    "a group that does not end": key(3, 3) * 9,
    "no values at all": stored_blob(bytes_field(7, bytes_field(1, b"\x04\x03\x02\x02"))),
}


@pytest.mark.parametrize("what", HOSTILE)
def test_broken_weights_are_one_sentence(tmp_path, what):
    begin, memory = time.process_time(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(InputError) as caught:
        Net(tmp_path, X + CONV, weights=HOSTILE[what])
    assert "net.caffemodel" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert time.process_time() - begin < 2
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - memory < 64 << 10


def test_a_pointer_in_place_of_the_file(tmp_path):
    with pytest.raises(Unreadable, match="git lfs pull"):
        Net(
            tmp_path,
            X + CONV,
            weights=b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 12\n",
        )


def test_a_large_file_is_walked_without_reading_it(tmp_path):
    path = tmp_path / "large.caffemodel"
    values = 4 << 20
    body = bytes_field(1, b"fc") + header(7, 4 * values + len(encode_varint(4 * values)) + 1)
    with path.open("wb") as file:
        for _ in range(32):
            file.write(
                header(100, len(body) + 4 * values + len(encode_varint(4 * values)) + 1)
                + body
                + header(5, 4 * values)
            )
            file.seek(4 * values - 1, 1)
            file.write(b"\x00")
    assert path.stat().st_size > 500e6
    begin = time.process_time()
    layers = load(path)
    assert time.process_time() - begin < 0.3
    assert [stored.blobs[0].count for stored in layers] == [values] * 32


def test_unpacked_values_are_found_at_the_speed_of_memory(tmp_path):
    path = tmp_path / "old.caffemodel"
    count = 1 << 20
    records = np.zeros((count, 5), np.uint8)
    records[:, 0] = 0x2D
    path.write_bytes(stored_blob(records.tobytes() + number_field(1, count)))
    begin = time.process_time()
    assert load(path)[0].blobs[0].count == count
    assert time.process_time() - begin < 0.3
    assert blob(np.float32([1, 2]), "unpacked")


@pytest.mark.filterwarnings("error")
def test_values_that_are_not_finite_stay_so(tmp_path):
    weights = {
        "conv": WEIGHTS["conv"],
        "bn": [np.float32([np.inf, np.nan, 1, 1e38]), np.ones(4), np.float32([1e-30])],
    }
    net = Net(
        tmp_path,
        X + CONV + layer("BatchNorm", "c", "c", name="bn"),
        weights=caffemodel(weights, values="double"),
    )
    mean = next(v for k, v in net.model.graph.initializers.items() if "mean" in k).const_value.numpy()
    assert list(np.isfinite(mean)) == [False, False, True, False]
    path = tmp_path / "wide"
    path.write_bytes(
        stored_blob(bytes_field(7, bytes_field(1, b"\x01")) + bytes_field(8, np.float64([1e300]).tobytes()))
    )
    assert load(path)[0].blobs[0].values()[0] == np.inf
