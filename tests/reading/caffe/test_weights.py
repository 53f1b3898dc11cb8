"""caffemodels in every form, and how their blobs meet the layers of a network."""

from __future__ import annotations

import math
import struct

import numpy as np
import pytest

from bnfold.errors import Malformed, Mismatch, Unreadable, Unsupported
from bnfold.files.protobuf import bytes_field, number_field
from bnfold.ir.tensor import Window
from bnfold.reading.caffe.caffemodel import load

from .files import Net, blob, caffemodel, input_layer, layer, normal, same

X = input_layer("x", 2, 3, 4, 4)
CONV = layer("Convolution", "x", "c", "convolution_param { num_output: 4 kernel_size: 2 }", name="conv")
NORM = layer("BatchNorm", "c", "c", name="bn") + layer(
    "Scale", "c", "c", "scale_param { bias_term: true }", name="scale"
)
W, B = normal(4, 3, 2, 2), normal(4)
BN = [normal(4), normal(4) ** 2 + 0.5, np.float32([2])]
WEIGHTS = {"conv": [W, B], "bn": BN, "scale": [normal(4, seed=1), normal(4, seed=2)]}
DATA = normal(2, 3, 4, 4)


@pytest.fixture(scope="module")
def expected(tmp_path_factory):
    return Net(tmp_path_factory.mktemp("net"), X + CONV + NORM, WEIGHTS).run(x=DATA)["c"]


@pytest.mark.parametrize("generation", ["v0", "v1", "v2"])
@pytest.mark.parametrize("values", ["packed", "unpacked", "split", "double"])
@pytest.mark.parametrize("shapes", ["modern", "legacy"])
def test_every_form_says_the_same(tmp_path, expected, generation, values, shapes):
    net = Net(
        tmp_path, X + CONV + NORM, weights=caffemodel(WEIGHTS, generation, values=values, shapes=shapes)
    )
    assert np.array_equal(net.run(x=DATA)["c"], expected)


def test_half_precision(tmp_path):
    rounded = {name: [np.float32(np.float16(a)) for a in arrays] for name, arrays in WEIGHTS.items()}
    net = Net(tmp_path, X + CONV + NORM, weights=caffemodel(WEIGHTS, values="half"))
    assert np.array_equal(net.run(x=DATA)["c"], Net(tmp_path, X + CONV + NORM, rounded).run(x=DATA)["c"])


def test_packed_floats_stay_where_they_lie(tmp_path):
    net = Net(tmp_path, X + CONV, {"conv": [W, B]})
    tensors = [value.const_value for value in net.model.graph.initializers.values()]
    assert [type(t) for t in tensors] == [Window, Window]
    assert {tuple(t.shape) for t in tensors} == {(4, 3, 2, 2), (4,)}


def test_layers_without_a_partner_are_ignored_and_told(tmp_path, expected):
    extra = {"data": [], "gone": [normal(2)], **WEIGHTS, "split": []}
    net = Net(tmp_path, X + CONV + NORM, extra)
    assert np.array_equal(net.run(x=DATA)["c"], expected)
    assert net.codes == ["caffe.unmatched-weights"]


def test_the_first_layer_of_a_name_takes_the_last_stored_one(tmp_path):
    stored = caffemodel([("conv", [W, B]), ("conv", [W * 2, B])])
    filler = "weight_filler { type: 'constant' value: 3 } bias_filler { value: 1 }"
    text = (
        X + CONV + CONV.replace('top: "c"', 'top: "d"').replace("kernel_size: 2", f"kernel_size: 2 {filler}")
    )
    got = Net(tmp_path, text, weights=stored).run(x=DATA)
    same(got["c"], Net(tmp_path, X + CONV, {"conv": [W * 2, B]}).run(x=DATA)["c"])
    same(got["d"], Net(tmp_path, X + CONV, {"conv": [np.full_like(W, 3), np.ones_like(B)]}).run(x=DATA)["c"])


def shared(name, top, param, bottom="x"):
    return layer(
        "Convolution", bottom, top, f"convolution_param {{ num_output: 4 kernel_size: 2 }} {param}", name=name
    )


def test_the_last_copy_of_a_shared_parameter_wins(tmp_path):
    param = 'param { name: "w" } param { }'
    text = X + shared("a", "p", param) + shared("b", "q", param)
    net = Net(tmp_path, text, weights=caffemodel([("b", [W, B]), ("a", [W * 5, B * 2])]))
    got = net.run(x=DATA)
    want = {
        top: Net(tmp_path, X + CONV, {"conv": [W * 5, bias]}).run(x=DATA)["c"]
        for top, bias in (("p", B * 2), ("q", B))
    }
    same(got["p"], want["p"])
    same(got["q"], want["q"])
    assert sum("weight" in name for name in net.model.graph.initializers) == 1


def test_shared_parameters_must_agree(tmp_path):
    other = layer(
        "InnerProduct", "x", "q", 'inner_product_param { num_output: 2 } param { name: "w" }', name="b"
    )
    with pytest.raises(
        Mismatch,
        match=r"b \(InnerProduct\): blob 0 \(weight\) is \(2, 48\), and shares parameter 'w' of shape "
        r"\(4, 3, 2, 2\)",
    ):
        Net(
            tmp_path,
            X + shared("a", "p", 'param { name: "w" }') + other,
            {"a": [W, B], "b": [normal(2, 48), normal(2)]},
        )


def test_a_sharer_without_copy_uses_the_owners(tmp_path):
    text = (
        X
        + shared("a", "p", 'param { name: "w" } param { name: "b" }')
        + shared("b", "q", 'param { name: "w" } param { name: "b" }')
    )
    got = Net(tmp_path, text, {"a": [W, B]}).run(x=DATA)
    assert np.array_equal(got["p"], got["q"])


def test_every_mismatch_is_named_layer_by_layer(tmp_path):
    wrong = {"conv": [normal(4, 3, 3, 3)], "bn": [*BN[:2], np.float32([1, 1])], "scale": WEIGHTS["scale"]}
    with pytest.raises(Mismatch) as caught:
        Net(tmp_path, X + CONV + NORM, wrong)
    for words in (
        "net.caffemodel: ",
        "net.prototxt:2:1 conv (Convolution): blob 0 (weight) is (4, 3, 3, 3) in the weights file, "
        "but the network wants (4, 3, 2, 2)",
        "conv (Convolution): the weights file has 1 blobs, but the network wants 2",
        "bn (BatchNorm): blob 2 (factor) is (2) in the weights file",
    ):
        assert words in str(caught.value)
    with pytest.raises(
        Mismatch, match=r"relu \(ReLU\): the weights file has 1 blobs, but the network wants 0"
    ):
        Net(tmp_path, X + layer("ReLU", "x", name="relu"), {"relu": [B]})


def test_missing_weights(tmp_path):
    words = (
        r"no weights are given, and 1 blobs need them, first .*blob 0 \(weight\) of shape \(4, 3, 2, "
        r"2\) needs weights.*--random"
    )
    with pytest.raises(Mismatch, match=words):
        Net(tmp_path, X + CONV)
    with pytest.raises(
        Mismatch, match=r"conv \(Convolution\): blob 0 \(weight\) of shape \(4, 3, 2, 2\) has no weights"
    ):
        Net(tmp_path, X + CONV, {"other": [B]})
    with pytest.raises(Mismatch, match=r"has no weights"):
        Net(
            tmp_path,
            X + CONV.replace("kernel_size: 2", "kernel_size: 2 weight_filler { type: 'xavier' }"),
            {},
        )
    with pytest.raises(Mismatch, match=r"bn \(BatchNorm\): blob 0 \(mean\) of shape \(4\) has no weights"):
        Net(tmp_path, X + CONV + NORM, {"conv": [W, B], "scale": WEIGHTS["scale"]})


def test_fillers_that_mean_something(tmp_path):
    text = X + layer(
        "Deconvolution",
        "x",
        "c",
        "convolution_param { num_output: 3 group: 3 kernel_size: 5 bias_term: false weight_filler "
        "{ type: 'bilinear' } }",
        name="up",
    )
    net = Net(tmp_path, text)
    weight = next(iter(net.model.graph.initializers.values())).const_value.numpy()
    line = [1 - abs(x / 3 - (5 - 1) / 6) for x in range(5)]
    same(weight, np.broadcast_to(np.outer(line, line), (3, 1, 5, 5)))
    net = Net(
        tmp_path,
        X
        + layer("Scale", "x", "a", name="s")
        + layer("PReLU", "a", "b", name="p")
        + layer("Bias", "b", "y", "bias_param { filler { value: 2 } }", name="b"),
        {},
    )
    same(net.run(x=DATA)["y"], np.where(DATA > 0, DATA, DATA / 4) + 2)
    assert net.codes.count("caffe.filler") == 3


def test_random_weights_are_seeded_and_healthy(tmp_path):
    deep = "".join(
        layer(
            "Convolution",
            [f"c{i}"],
            [f"c{i + 1}"],
            "convolution_param { num_output: 8 kernel_size: 3 pad: 1 }",
            name=f"conv{i}",
        )
        + layer("BatchNorm", [f"c{i + 1}"], [f"c{i + 1}"], name=f"bn{i}")
        + layer("Scale", [f"c{i + 1}"], [f"c{i + 1}"], "scale_param { bias_term: true }", name=f"s{i}")
        + layer("ReLU", [f"c{i + 1}"], [f"c{i + 1}"], name=f"r{i}")
        for i in range(12)
    )
    text = input_layer("c0", 1, 8, 6, 6) + deep
    data = normal(1, 8, 6, 6)
    one, again, other = (Net(tmp_path, text, random_weights=seed).run(c0=data)["c12"] for seed in (3, 3, 4))
    assert np.array_equal(one, again)
    assert not np.allclose(one, other)
    assert 1e-2 < one.std() < 1e2


def test_random_weights_keep_deep_residual_networks_alive(tmp_path):
    def block(i):
        a, b, c = f"x{i}", f"b{i}", f"x{i + 1}"
        conv = layer(
            "Convolution",
            [a],
            [b],
            "convolution_param { num_output: 16 kernel_size: 3 pad: 1 bias_term: false }",
            name=f"c{i}",
        )
        norm = layer("BatchNorm", [b], [b], name=f"n{i}") + layer(
            "Scale", [b], [b], "scale_param { bias_term: true }", name=f"s{i}"
        )
        return (
            conv + norm + layer("Eltwise", [a, b], [c], name=f"e{i}") + layer("ReLU", [c], [c], name=f"r{i}")
        )

    net = Net(tmp_path, input_layer("x0", 1, 16, 8, 8) + "".join(map(block, range(40))), random_weights=7)
    got = net.run(x0=normal(1, 16, 8, 8))
    assert 1 < got["x40"].std() < 50


def test_too_many_param_blocks(tmp_path):
    with pytest.raises(Malformed, match="3 param blocks for 2 blobs"):
        Net(
            tmp_path,
            X + CONV.replace("convolution_param", "param { } param { } param { } convolution_param"),
            {"conv": [W, B]},
        )


@pytest.mark.parametrize(
    ("blocks", "fine"),
    [
        ("", True),
        ("param { lr_mult: 0 }", True),
        ("param { lr_mult: 1 }" * 3, True),
        ("param { lr_mult: 1 }", False),
        ("param { } param { }", False),
    ],
)
def test_learning_rates_on_statistics(tmp_path, blocks, fine):
    text = X + layer("BatchNorm", "x", params=blocks, name="bn")
    weights = {"bn": [normal(3), normal(3) ** 2, np.float32([1])]}
    if fine:
        Net(tmp_path, text, weights)
    else:
        with pytest.raises(Malformed, match="a learning rate on the statistics"):
            Net(tmp_path, text, weights)


def test_dialects(tmp_path):
    bn = layer("BatchNorm", "x", name="bn")
    five = {"bn": [normal(3), normal(3) ** 2 + 1, np.float32([4]), normal(3, seed=1), normal(3, seed=2)]}
    plain = {"bn": five["bn"][:3]}
    assert (Net(tmp_path, X + bn, plain).loaded.dialect, Net(tmp_path, X + bn, five).loaded.dialect) == (
        "bvlc",
        "nvcaffe",
    )
    assert "BatchNorm has 5 blobs" in Net(tmp_path, X + bn, five).loaded.dialect_reason

    def value(weights, **options):
        return Net(tmp_path, X + bn, weights, **options).run(x=DATA)["y"]

    def norm(mean, variance):
        return (DATA - mean[:, None, None]) / np.sqrt(variance[:, None, None] + 1e-5)

    mean, variance, _, scale, bias = five["bn"]
    affine = (scale[:, None, None], bias[:, None, None])
    same(value(plain), norm(mean / 4, variance / 4))
    same(value(plain, dialect="nvcaffe"), norm(mean, variance))
    same(value(five), norm(mean, variance) * affine[0] + affine[1])
    same(value(five, dialect="intel"), norm(mean / 4, variance / 4) * affine[0] + affine[1])
    with pytest.raises(Mismatch, match="the weights file has 5 blobs, but the network wants 3"):
        value(five, dialect="bvlc")


def test_the_order_of_digits_is_told_by_its_last_blob(tmp_path):
    bn = layer("BatchNorm", "x", params="batch_norm_param { scale_filler { value: 1 } }", name="bn")
    mean, variance, scale, bias = normal(3), normal(3) ** 2 + 1, normal(3, seed=1), normal(3, seed=2)
    for shape in ((1, 3, 1, 1), (3,)):
        blobs = [v.reshape(shape) for v in (scale, bias, mean, variance)]
        net = Net(tmp_path, X + bn, {"bn": [*blobs, np.float32([7]).reshape((1,) * len(shape))]})
        assert net.loaded.dialect == "digits"
        want = (DATA - mean[:, None, None]) / np.sqrt(variance[:, None, None] + 1e-5)
        same(net.run(x=DATA)["y"], want * scale[:, None, None] + bias[:, None, None])


THREE = [normal(3), normal(3) ** 2 + 1, np.float32([4])]
OWN_SCALE = layer("BatchNorm", "x", params="batch_norm_param { scale_bias: true }", name="bn")


def scaled_once(scale, bias):
    mean, variance = THREE[0] / 4, THREE[1] / 4
    norm = (DATA - mean[:, None, None]) / np.sqrt(variance[:, None, None] + 1e-5)
    return norm * scale[:, None, None] + bias[:, None, None]


def test_weights_of_bvlc_in_a_network_of_nvcaffe(tmp_path):
    scale, bias = normal(3, seed=1), normal(3, seed=2)
    behind = layer("Scale", "y", "z", "scale_param { bias_term: true }", name="sc")
    net = Net(tmp_path, X + OWN_SCALE + behind, {"bn": THREE, "sc": [scale, bias]})
    same(net.run(x=DATA)["z"], scaled_once(scale, bias))
    assert not net.codes


def test_a_scale_that_the_network_lacks_is_borrowed_with_a_warning(tmp_path):
    scale, bias = normal(3, seed=1), normal(3, seed=2)
    body = bytes_field(1, b"sc") + bytes_field(2, b"Scale")
    body += b"".join(bytes_field(7, blob(v)) for v in (scale, bias))
    stored = caffemodel({"bn": THREE}) + bytes_field(100, body)
    net = Net(tmp_path, X + OWN_SCALE, weights=stored)
    same(net.run(x=DATA)["y"], scaled_once(scale, bias))
    assert net.codes == ["caffe.borrowed-scale"]
    assert "'sc'" in net.loaded.findings[0].text
    with pytest.raises(
        Mismatch, match=r"bn \(BatchNorm\): the weights file has 3 blobs, but the network wants 5"
    ):
        Net(tmp_path, X + OWN_SCALE, {"bn": THREE})


def test_layers_that_have_no_weights_in_the_file_are_told(tmp_path):
    text = (
        X
        + layer("Scale", "x", "z", "scale_param { bias_term: true }", name="sc")
        + layer("Bias", "z", name="b")
    )
    net = Net(tmp_path, text, {"b": [normal(3)], "elsewhere": [normal(2)]})
    told = {str(f) for f in net.loaded.findings if f.level == "warning"}
    assert any("sc (Scale): scale is not in the weights file" in line for line in told)
    assert any("blobs of a layer that the network does not have: 'elsewhere'" in line for line in told)
    left_out = text + layer("Bias", "z", "w", "include { phase: TRAIN }", name="elsewhere")
    net = Net(tmp_path, left_out, {"b": [normal(3)], "elsewhere": [normal(2)]})
    assert "caffe.unmatched-weights" not in net.codes


def five_dims(array):
    """A blob as C3D 1.0 writes it: five legacy dimensions, and the values behind them."""
    array = np.asarray(array, np.float32)
    dims = (1,) * (5 - array.ndim) + array.shape
    head = b"".join(number_field(i + 1, d) for i, d in enumerate(dims))
    return head + bytes_field(6, array.astype("<f4").tobytes())


def test_blobs_of_five_dimensions(tmp_path):
    text = input_layer("x", 1, 2, 3, 4, 5) + (
        layer(
            "Convolution3D",
            "x",
            params="convolution3d_param { num_output: 2 kernel_size: 1 kernel_depth: 1 }",
        )
    )
    w, b = normal(2, 2, 1, 1, 1), normal(2)
    body = bytes_field(4, b"l") + number_field(5, 40)
    body += b"".join(bytes_field(6, five_dims(v)) for v in (w, b))
    x = normal(1, 2, 3, 4, 5)
    got = Net(tmp_path, text, weights=bytes_field(1, b"n") + bytes_field(2, body)).run(x=x)["y"]
    want = np.einsum("oc,nctyx->notyx", w[:, :, 0, 0, 0].astype(np.float64), x) + b[:, None, None, None]
    same(got, want)


@pytest.mark.parametrize(
    ("content", "error", "words"),
    [
        (b"\n <!DOCTYPE html><html>", Unreadable, "HTML or XML: a web page"),
        (b"PK\x03\x04....", Unreadable, "a zip archive"),
        (b"\x1f\x8b\x08....", Unreadable, "compressed with gzip"),
        (b"version https://git-lfs.github.com/spec/v1", Unreadable, "a Git LFS pointer"),
        (b'name: "net" layer { }', Unreadable, "the file is a prototxt"),
        (
            struct.pack("<iiiQ", 0, 2, 5, 64),
            Mismatch,
            "weights file is darknet's, while the network is a prototxt",
        ),
    ],
)
def test_what_is_taken_for_a_caffemodel_is_named(tmp_path, content, error, words):
    with pytest.raises(error, match=words):
        Net(tmp_path, X + layer("ReLU", "x"), weights=content)


def test_a_factor_of_zero_is_told(tmp_path):
    net = Net(
        tmp_path, X + layer("BatchNorm", "x", name="bn"), {"bn": [normal(3), normal(3) ** 2, np.float32([0])]}
    )
    assert net.codes == ["caffe.factor-zero"]
    same(net.run(x=DATA)["y"], DATA / math.sqrt(1e-5))


def test_batch_statistics_are_kept_or_overruled(tmp_path):
    text = X + layer("BatchNorm", "x", params="batch_norm_param { use_global_stats: false }", name="bn")
    weights = {"bn": [normal(3), normal(3) ** 2 + 1, np.float32([1])]}
    net = Net(tmp_path, text, weights)
    assert net.codes == ["caffe.batch-statistics"]
    assert "BatchNormalization" not in net.ops()
    forced = Net(tmp_path, text, weights, assume_global_stats=True)
    assert forced.ops() == ["BatchNormalization"]
    assert (
        "BatchNormalization"
        not in Net(tmp_path, X + layer("BatchNorm", "x", name="bn"), weights, phase="TRAIN").ops()
    )
    assert Net(
        tmp_path, X + layer("BatchNorm", "x", params="phase: TEST", name="bn"), weights, phase="TRAIN"
    ).ops() == ["BatchNormalization"]


def test_hdf5(tmp_path, expected):
    h5py = pytest.importorskip("h5py", reason="needs the h5 extra")
    weights = {**WEIGHTS, "a/b": []}
    path = tmp_path / "net.caffemodel.h5"
    with h5py.File(path, "w") as file:
        for name, arrays in weights.items():
            group = file.create_group(f"data/{name}")
            for i, array in enumerate(arrays):
                group.create_dataset(str(i), data=array, compression="gzip" if array.size > 9 else None)
    assert {s.name: len(s.blobs) for s in load(path)} == {"conv": 2, "bn": 3, "scale": 2, "a/b": 0}
    net = Net(tmp_path, X + CONV + NORM, weights=path.read_bytes())
    assert np.array_equal(net.run(x=DATA)["c"], expected)
    path.write_bytes(path.read_bytes()[:700])
    with pytest.raises(Unreadable, match="cannot be read as HDF5"):
        load(path)


def test_hdf5_stores_shared_blobs_once(tmp_path):
    h5py = pytest.importorskip("h5py", reason="needs the h5 extra")
    path = tmp_path / "shared.h5"
    both = 'param { name: "w" } param { name: "b" }'
    text = X + shared("a", "p", both) + shared("b", "q", both)
    with h5py.File(path, "w") as file:
        file.create_group("data/b")
        for i, array in enumerate((W, B)):
            file.create_dataset(f"data/a/{i}", data=array)
    got = Net(tmp_path, text, weights=path.read_bytes()).run(x=DATA)
    assert np.array_equal(got["p"], got["q"])
    with pytest.raises(
        Mismatch, match=r"b \(Convolution\): the weights file has 0 blobs, but the network wants 2"
    ):
        Net(
            tmp_path,
            X + shared("a", "p", both) + shared("b", "q", 'param { name: "w" }'),
            weights=path.read_bytes(),
        )


def test_permissive_sharing_compares_counts_alone(tmp_path):
    text = input_layer("x", 1, 4) + layer(
        "InnerProduct",
        "x",
        "p",
        'inner_product_param { num_output: 2 bias_term: false } param { name: "w" }',
        name="a",
    )
    text += layer("Scale", "p", "q", 'scale_param { axis: 0 num_axes: 2 } param { name: "s" }', name="b")
    other = 'inner_product_param { num_output: 4 bias_term: false } param { name: "w" MODE }'
    text += layer("Reshape", "q", "r", "reshape_param { shape { dim: 1 dim: 2 } }", name="r") + layer(
        "InnerProduct", "r", "y", other, name="c"
    )
    weights = {"a": [normal(2, 4)], "b": [normal(1, 2)], "c": [normal(4, 2)]}
    with pytest.raises(
        Mismatch,
        match=r"c \(InnerProduct\): blob 0 \(weight\) is \(4, 2\), and shares parameter 'w' of shape \(2, "
        r"4\)",
    ):
        Net(tmp_path, text.replace("MODE", ""), weights)
    got = Net(tmp_path, text.replace("MODE", "share_mode: PERMISSIVE"), weights).run(x=normal(1, 4))
    same(got["y"], got["q"] @ normal(4, 2).T)


def test_a_copy_of_another_size_is_never_taken_in_silence(tmp_path):
    text = (
        X
        + shared("a", "p", 'param { name: "w" }')
        + shared("gone", "q", 'param { name: "w" }')
        + layer("Silence", "q", [], name="s")
    )
    with pytest.raises(Mismatch, match="the layer that shares it stores 3 values"):
        Net(tmp_path, text, {"a": [W, B], "gone": [normal(3), B]})


def test_hdf5_needs_an_extra(tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "h5py", None)
    (tmp_path / "w").write_bytes(b"\x89HDF\r\n\x1a\n")
    with pytest.raises(Unsupported, match=r"pip install h5py"):
        load(tmp_path / "w")
