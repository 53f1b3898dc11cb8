"""Paths in files: external data, class trees and HDF5 links reach nothing outside the model's folder; nobody
waits for a pipe."""

from __future__ import annotations

import os
import sys

import numpy as np
import onnx
import pytest

from bnfold.errors import BnfoldError
from bnfold.pipeline.pipeline import load

from ..models import model
from .judged import folded, judge

UNIX = pytest.mark.skipif(sys.platform == "win32", reason="pipes and links as Unix has them")
SECRET = "secret.bin"


def device(path):
    path.symlink_to("/dev/zero")


NO_FILES = [getattr(os, "mkfifo", None), device, lambda path: path.mkdir()]  # a pipe, a device, a folder


@pytest.fixture(autouse=True)
def back(tmp_path, monkeypatch):
    (tmp_path / SECRET).write_bytes(bytes(1 << 16))
    monkeypatch.chdir(tmp_path)


def external(location, offset=None, length=None):
    """A net whose weight lies elsewhere."""
    proto = model("""<ir_version: 9, opset_import: ["" : 17]>
    net (float[1, 3, 8, 8] x) => (float[1, 4, 8, 8] y) <float[4, 3, 1, 1] w> { y = Conv (x, w) }""")
    weight = proto.graph.initializer[0]
    weight.ClearField("raw_data")
    weight.data_location = onnx.TensorProto.EXTERNAL
    for key, value in (("location", location), ("offset", offset), ("length", length)):
        if value is not None:
            weight.external_data.add(key=key, value=str(value))
    return proto.SerializeToString()


def beside(name, make, weights=False):
    """Put something that is no plain file into the folder; as weights, if it is to be read as such."""

    def others(case):
        path = case.folder / name
        make(path)
        case.given.append(path)
        return path if weights else None

    return others


@pytest.mark.parametrize(
    "location",
    [
        f"../{SECRET}",
        "a/../../secret.bin",
        "/etc/hostname",
        "//etc/hostname",
        "C:\\secret.bin",
        "..\\secret.bin",
        "",
        ".",
        "..",
        "/dev/zero",
        "net.onnx/..",
        "\x00",
        "a" * 5000,
        "~/.profile",
        "file:///etc/hostname",
    ],
)
def test_external_data_from_elsewhere(tmp_path, location):
    assert folded(tmp_path, external(location)).error


@UNIX
@pytest.mark.parametrize(
    "make",
    [
        lambda path: path.symlink_to("/etc/hostname"),
        lambda path: path.symlink_to(path.parent.parent / SECRET),
        lambda path: path.symlink_to("net.onnx"),
        lambda path: path.symlink_to(path.name),
        lambda path: path.mkdir(),
        getattr(os, "mkfifo", None),
        device,
    ],
    ids=["link-out", "link-up", "link-inside", "link-to-itself", "folder", "pipe", "device"],
)
def test_external_data_that_is_no_plain_file(tmp_path, make):
    outcome = folded(tmp_path, external("w.bin"), others=beside("w.bin", make))
    assert outcome.error and "w.bin" in outcome.sentence


@UNIX
def test_external_data_in_a_folder_that_is_a_link(tmp_path):
    assert (
        "is a link"
        in folded(
            tmp_path, external(f"up/{SECRET}"), others=beside("up", lambda path: path.symlink_to(".."))
        ).sentence
    )


@pytest.mark.parametrize(
    ("offset", "length"),
    [
        (1 << 62, None),
        (0, 1 << 62),
        (-1, None),
        (1, None),
        (0, 47),
        ("9" * 400, None),
        ("1e3", None),
        (0, 0),
        ("٣", None),
        (" 0", None),
    ],
)
def test_external_data_beyond_its_file(tmp_path, offset, length):
    def others(case):
        case.file("w.bin", bytes(48))

    assert folded(tmp_path, external("w.bin", offset, length), others=others).error


@UNIX
@pytest.mark.parametrize("make", NO_FILES, ids=["pipe", "device", "folder"])
def test_a_model_that_is_no_plain_file(tmp_path, make):
    def read(case):
        path = case.folder / "net.onnx"
        make(path)
        case.given.append(path)
        load(path)

    with pytest.raises(BnfoldError):
        load(tmp_path / "nothing.onnx")
    judge(read, b"", tmp_path)


TREE_CFG = "[net]\nwidth=4\nheight=4\nchannels=3\n[convolutional]\nfilters=4\nsize=1\nactivation=linear\n[avgpool]\n[softmax]\ntree={}\n"
CLASSES = b"a -1\nb -1\nc 0\nd 0\n"


@pytest.mark.parametrize(
    "tree",
    ["/etc/passwd", "../t.tree", "a/../../t.tree", "/dev/zero", "~/t.tree", "a" * 4000, "no.tree", ".", ".."],
)
def test_a_class_tree_from_elsewhere(tmp_path, tree):
    (tmp_path / "t.tree").write_bytes(CLASSES)
    outcome = folded(tmp_path, TREE_CFG.format(tree).encode(), "net.cfg", weights=1)
    assert "does not exist" in outcome.sentence


@UNIX
@pytest.mark.parametrize(
    "make",
    [
        lambda path: path.symlink_to("/etc/passwd"),
        getattr(os, "mkfifo", None),
        device,
        lambda path: path.symlink_to(path.parent.parent / SECRET),
    ],
    ids=["link", "pipe", "device", "link-up"],
)
def test_a_class_tree_that_is_no_plain_file(tmp_path, make):
    assert folded(
        tmp_path, TREE_CFG.format("t.tree").encode(), "net.cfg", beside("t.tree", make), weights=1
    ).error


def test_a_class_tree_of_gigabytes(tmp_path):
    def others(case):
        with (case.folder / "t.tree").open("wb") as file:
            file.truncate(8 << 30)
        case.given.append(case.folder / "t.tree")

    assert (
        "larger than"
        in folded(tmp_path, TREE_CFG.format("t.tree").encode(), "net.cfg", others, weights=1).sentence
    )


def test_a_class_tree_in_darknets_own_folders(tmp_path):
    from bnfold.reading.darknet import read
    from bnfold.results.options import ReadOptions

    (tmp_path / "cfg").mkdir()
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "t.tree").write_bytes(CLASSES)
    (tmp_path / "cfg" / "net.cfg").write_text(TREE_CFG.format("data/t.tree"))
    loaded = read(tmp_path / "cfg" / "net.cfg", None, ReadOptions(random_weights=1))
    assert [path.name for path in loaded.files] == ["net.cfg", "t.tree"]


NET = (
    'input: "x" input_shape { dim: 1 dim: 3 dim: 4 dim: 4 }\n'
    'layer { name: "c" type: "Convolution" bottom: "x" top: "y" convolution_param { num_output: 4 '
    "kernel_size: 1 } }\n"
)


def h5(fill):
    """The weights of NET as HDF5, as `fill(file, folder)` makes them."""
    h5py = pytest.importorskip("h5py", reason="HDF5 files are read by h5py")

    def others(case):
        path = case.folder / "net.h5"
        with h5py.File(path, "w") as file:
            fill(file, case.folder)
        case.given.append(path)
        return path

    return others


def whole(file, folder):
    file["data/c/0"] = np.ones((4, 3, 1, 1), np.float32)
    file["data/c/1"] = np.ones(4, np.float32)


def test_hdf5_as_caffe_writes_it(tmp_path):
    assert folded(tmp_path, NET.encode(), "net.prototxt", h5(whole)).result


def soft(file, folder):
    import h5py

    file["elsewhere"] = np.ones((4, 3, 1, 1), np.float32)
    file["data/c/0"] = h5py.SoftLink("/elsewhere")


def to_another_file(file, folder):
    import h5py

    file["data/c/0"] = h5py.ExternalLink(str(folder.parent / SECRET), "/data")


def group_in_another_file(file, folder):
    import h5py

    file["data"] = h5py.ExternalLink(str(folder.parent / SECRET), "/data")


def values_in_another_file(file, folder):
    file.create_dataset("data/c/0", (4, 3, 1, 1), "f4", external=[(str(folder.parent / SECRET), 0, 48)])


def virtual(file, folder):
    import h5py

    layout = h5py.VirtualLayout((4, 3, 1, 1), "f4")
    layout[...] = h5py.VirtualSource(str(folder.parent / SECRET), "w", (4, 3, 1, 1))
    file.create_virtual_dataset("data/c/0", layout)


def circle(file, folder):
    file["data/c/again"] = file.create_group("data/c")


def deep(file, folder):
    file.create_group("data/" + "/".join("c" * 500))


def never_written(file, folder):
    file.create_dataset("data/c/0", (1 << 20, 1 << 14), "f4", chunks=(1 << 10, 1 << 10))


def all_zeros(file, folder):
    file.create_dataset(
        "data/c/0",
        data=np.zeros(1 << 26, np.float32),
        compression="gzip",
        compression_opts=9,
        chunks=(1 << 22,),
    )


def texts(file, folder):
    file["data/c/0"] = "no number"


def objects(file, folder):
    import h5py

    file.create_dataset("data/c/0", (3,), dtype=h5py.vlen_dtype(np.float32))


@pytest.mark.parametrize(
    "fill",
    [
        soft,
        to_another_file,
        group_in_another_file,
        values_in_another_file,
        virtual,
        circle,
        deep,
        never_written,
        all_zeros,
        texts,
        objects,
    ],
    ids=lambda fill: fill.__name__,
)
def test_hdf5_that_is_not_as_caffe_writes_it(tmp_path, fill):
    assert folded(tmp_path, NET.encode(), "net.prototxt", h5(fill)).error


@UNIX
@pytest.mark.parametrize("make", NO_FILES, ids=["pipe", "device", "folder"])
@pytest.mark.parametrize(
    ("network", "name"),
    [(NET, "net.prototxt"), (TREE_CFG.replace("tree={}", ""), "net.cfg")],
    ids=["caffe", "darknet"],
)
def test_weights_that_are_no_plain_file(tmp_path, network, name, make):
    assert folded(tmp_path, network.encode(), name, beside("weights", make, weights=True)).error


def test_the_helper_writes_what_it_says(tmp_path):
    """Without an attack the same model folds."""

    def others(case):
        case.file("w.bin", bytes(48))

    assert folded(tmp_path, external("w.bin", 0, 48), others=others).result
