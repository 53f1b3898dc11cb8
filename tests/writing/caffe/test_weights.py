"""What becomes of the user's weights file: blobs that changed, in its own form, and every other byte as it
was."""

from __future__ import annotations

import h5py
import numpy as np
import pytest

import bnfold
from bnfold.files.protobuf import bytes_field, fields
from bnfold.reading.caffe.caffemodel import load
from bnfold.writing import layout

from ...reading.caffe.files import blob, caffemodel, normal
from .folding import INPUT, SCALE, STATISTICS, Folded, conv, norm, relu

WEIGHT, BIAS = normal(4, 3, 3, 3), normal(4)
TEXT = INPUT + conv("data", "c") + norm("c", "c") + conv("c", "d", "last")
NET = {
    "conv": [WEIGHT, BIAS],
    "bn": STATISTICS,
    "bn/scale": SCALE,
    "last": [normal(4, 4, 3, 3), BIAS],
    "elsewhere": [normal(7)],
}


def expected():
    """The folded convolution, in float64."""
    mean, variance, factor = (np.asarray(a, np.float64) for a in STATISTICS)
    scale = SCALE[0] / np.sqrt(variance / factor + 1e-5)
    weight = WEIGHT.astype(np.float64) * scale[:, None, None, None]
    return weight, (BIAS - mean / factor) * scale + SCALE[1]


@pytest.mark.parametrize("shapes", ["modern", "legacy"])
@pytest.mark.parametrize("values", ["packed", "unpacked", "split", "double"])
def test_every_form_of_values(tmp_path, values, shapes):
    weights = caffemodel(NET, values=values, shapes=shapes)
    folded = Folded(tmp_path, TEXT, weights=weights)
    for got, want in zip(folded.blobs["conv"], expected(), strict=True):
        np.testing.assert_allclose(got, want.ravel(), rtol=2e-6, atol=1e-6)
    assert [entry.blobs[0].legacy for entry in folded.stored] == [shapes == "legacy"] * 3
    last = bytes_field(
        100,
        b"".join(
            bytes(weights[f.start : f.end]) for f in fields(weights) if b"last" in weights[f.start : f.end]
        ),
    )
    assert last in (tmp_path / "merged.caffemodel").read_bytes()
    folded.check("c", "d")


def test_half_precision_becomes_single(tmp_path):
    layers = {name: [np.float16(a).astype(np.float32) for a in arrays] for name, arrays in NET.items()}
    folded = Folded(tmp_path, TEXT, weights=caffemodel(layers, values="half"))
    assert folded.stored[0].blobs[0].pieces[0].dtype == "<f4"
    assert folded.stored[1].blobs[0].pieces[0].dtype == "<f2"


def test_layers_of_the_file_that_the_network_lacks_stay(tmp_path):
    assert list(Folded(tmp_path, TEXT, NET).blobs) == ["conv", "last", "elsewhere"]


def test_a_caffemodel_that_knows_its_network_tells_the_new_one(tmp_path):
    """As Caffe saves it: with bottoms, tops and parameters."""
    text = INPUT + conv("data", "c", params="bias_term: false") + norm("c", "b")
    layer = (
        bytes_field(1, b"conv") + bytes_field(2, b"Convolution") + bytes_field(3, b"data")
        + bytes_field(4, b"c") + bytes_field(7, blob(WEIGHT)) + bytes_field(106, b"\x08\x04\x10\x00")
    )  # fmt: skip
    weights = (
        bytes_field(1, b"net") + bytes_field(100, layer) + caffemodel({"bn": STATISTICS, "bn/scale": SCALE})
    )
    folded = Folded(tmp_path, text, weights=weights)
    data = (tmp_path / "merged.caffemodel").read_bytes()
    body = next(f for f in fields(data) if f.number == 100)
    found = {f.number: data[f.start : f.end] for f in fields(data, body.start, body.end)}
    assert (found[3], found[4], found[106]) == (b"data", b"b", b"\x08\x04\x10\x01")
    assert len(folded.blobs["conv"]) == 2


def test_a_layer_whose_fillers_gave_its_weights_is_stored_now(tmp_path):
    filled = 'bias_term: false weight_filler { type: "constant" value: 0.5 }'
    folded = Folded(
        tmp_path,
        INPUT + conv("data", "c", params=filled) + norm("c", "c"),
        {k: v for k, v in NET.items() if k != "conv"},
    )
    assert [a.size for a in folded.blobs["conv"]] == [108, 4]
    folded.check("c")


def test_a_bias_that_a_filler_gave(tmp_path):
    folded = Folded(
        tmp_path,
        INPUT + conv("data", "c", params="bias_term: false") + norm("c", "c"),
        NET | {"conv": [WEIGHT]},
    )
    assert [a.size for a in folded.blobs["conv"]] == [108, 4]


def test_hdf5_becomes_a_caffemodel(tmp_path):
    network, weights = tmp_path / "net.prototxt", tmp_path / "net.caffemodel.h5"
    network.write_text(TEXT)
    with h5py.File(weights, "w") as file:
        for name, arrays in NET.items():
            for index, array in enumerate(arrays):
                file[f"data/{name}/{index}"] = array
    bnfold.fold_file(network, weights, out=tmp_path / "merged.prototxt")
    stored = {entry.name: entry.blobs for entry in load(tmp_path / "merged.caffemodel")}
    np.testing.assert_allclose(stored["conv"][0].values(), expected()[0].ravel(), rtol=2e-6, atol=1e-6)
    assert stored["last"][0].shape == (4, 4, 3, 3)
    assert "bn" not in stored


def test_more_than_protobuf_takes_is_refused_before_anything_is_written(tmp_path, monkeypatch):
    monkeypatch.setattr(layout, "LIMIT", 1000)
    with pytest.raises(bnfold.Unsupported, match="protobuf takes at most 1,000"):
        Folded(tmp_path, TEXT, NET)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["net.caffemodel", "net.prototxt"]


def test_a_scale_stays_whole(tmp_path):
    """Its multiplication passes the ReLU, its addition does not: then neither goes."""
    scale = 'layer { name: "s" type: "Scale" bottom: "r" top: "s" scale_param { bias_term: true } }\n'
    folded = Folded(
        tmp_path,
        INPUT + conv("data", "c") + relu("c", "r") + scale,
        {"conv": NET["conv"], "s": [np.abs(SCALE[0]), SCALE[1]]},
    )
    assert folded.text == folded.before
    assert "kept.format" in folded.codes
