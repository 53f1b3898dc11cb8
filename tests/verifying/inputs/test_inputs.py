"""Seeded samples and the user's own files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from bnfold.errors import InputError, Malformed, Mismatch, Unreadable, UsageError
from bnfold.ir.graph import ir
from bnfold.results.options import VerifyOptions
from bnfold.verifying import compare
from bnfold.verifying.inputs.samples import DISTRIBUTIONS, Input, Unfillable, fill, inputs_of, sample
from bnfold.verifying.inputs.user_files import read_feeds

from ..sides import proto, side

IMAGE = Input("x", ir.DataType.FLOAT, (1, 3, 4, 4))
VALUES = np.random.default_rng(0).standard_normal((1, 3, 4, 4)).astype(np.float32)


def options(*files: tuple[str, Any], **more: Any) -> VerifyOptions:
    return VerifyOptions(inputs=tuple((name, str(path)) for name, path in files), **more)


# -- seeded


def test_a_seed_reproduces_everything() -> None:
    shapes = {"x": (2, 3, 8, 8)}
    one, two, other = (sample([IMAGE], shapes, seed, 1)["x"] for seed in (5, 5, 6))
    assert np.array_equal(one, two)
    assert not np.array_equal(one, other)


@pytest.mark.parametrize("index", range(len(DISTRIBUTIONS)))
@pytest.mark.parametrize("shape", [(), (5,), (2, 3), (2, 3, 9), (1, 3, 8, 8), (1, 2, 4, 4, 4)])
def test_every_distribution_fills_every_shape(index: int, shape: tuple[int, ...]) -> None:
    values = fill(IMAGE, shape, 0, index)
    assert values.shape == shape
    assert values.dtype == np.float32
    assert np.isfinite(values).all()


def test_samples_are_of_several_kinds() -> None:
    several = [sample([IMAGE], {"x": (1, 3, 32, 32)}, 0, i)["x"] for i in range(3)]
    assert max(np.abs(v).max() for v in several) > 30
    assert min(np.median(np.abs(v)) for v in several) < 0.3
    borders = several[1]
    assert np.abs(borders[:, :, [0, -1]]).mean() > 2 * np.abs(borders[:, :, 4:-4, 4:-4]).mean() * 0.5


@pytest.mark.parametrize(
    ("kind", "low", "high"),
    [("UINT8", 0, 255), ("INT8", -128, 127), ("INT64", 0, 1), ("INT32", 0, 1), ("BOOL", 0, 1)],
)
def test_integers_are_in_a_sensible_range(kind: str, low: int, high: int) -> None:
    values = fill(Input("x", ir.DataType[kind], (999,)), (999,), 0, 0)
    assert (values.min(), values.max()) == (low, high)


def test_inputs_with_an_initializer_need_no_feed() -> None:
    model = proto(
        '<ir_version: 9, opset_import: ["" : 17]> g (float[1] x, float[1] k = {3}) => (float[1] y) '
        "{ y = Mul(x, k) }"
    )
    assert [one.name for one in inputs_of(ir.from_proto(model))] == ["x"]


def test_strings_are_refused() -> None:
    model = proto(
        '<ir_version: 9, opset_import: ["" : 17]> g (string[1] x) => (string[1] y) { y = Identity(x) }'
    )
    with pytest.raises(Unfillable, match="not a tensor of numbers"):
        inputs_of(ir.from_proto(model))
    found = compare(side(model), side(model), VerifyOptions())
    assert not found
    assert "not a tensor of numbers" in found.reason


@pytest.mark.parametrize("shape", ["1000000, 1000000", "99999999999", "17592186044416, 6, 0"])
def test_a_shape_that_no_machine_holds_is_not_filled(shape: str) -> None:
    text = (
        f'<ir_version: 9, opset_import: ["" : 17]> g (float[{shape}] x) => (float[{shape}] y) {{ y = '
        f"Relu(x) }}"
    )
    found = compare(side(text), side(text), VerifyOptions())
    assert not found
    assert "cannot be filled" in found.reason


# -- files


def test_npy(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", VALUES)
    assert np.array_equal(read_feeds([IMAGE], options(("", tmp_path / "x.npy")))[0]["x"], VALUES)


def test_a_file_may_hold_several_samples(tmp_path: Path) -> None:
    several = np.concatenate([VALUES, VALUES * 2, VALUES * 3])
    np.save(tmp_path / "x.npy", several.astype(np.float64))
    found = read_feeds([IMAGE], options(("x", tmp_path / "x.npy")))
    assert [one["x"].dtype for one in found] == [np.float32] * 3
    assert np.array_equal(found[2]["x"], VALUES * 3)


def test_npz_serves_all_inputs(tmp_path: Path) -> None:
    two = [IMAGE, Input("k", ir.DataType.INT64, (2,))]
    np.savez(tmp_path / "all.npz", x=VALUES, k=np.array([1, 2]))
    found = read_feeds(two, options(("", tmp_path / "all.npz")))
    assert found[0]["k"].tolist() == [1, 2]
    np.savez(tmp_path / "one.npz", anything=VALUES)
    assert np.array_equal(read_feeds([IMAGE], options(("x", tmp_path / "one.npz")))[0]["x"], VALUES)


def test_pb(tmp_path: Path) -> None:
    (tmp_path / "x.pb").write_bytes(numpy_helper.from_array(VALUES).SerializeToString())
    assert np.array_equal(read_feeds([IMAGE], options(("x", tmp_path / "x.pb")))[0]["x"], VALUES)


def test_bin(tmp_path: Path) -> None:
    (tmp_path / "x.bin").write_bytes(np.concatenate([VALUES, VALUES]).tobytes())
    assert len(read_feeds([IMAGE], options(("x", tmp_path / "x.bin")))) == 2
    free = Input("x", ir.DataType.FLOAT, ("N", 3, 4, 4))
    with pytest.raises(UsageError, match="input_shapes"):
        read_feeds([free], options(("x", tmp_path / "x.bin")))
    assert read_feeds([free], options(("x", tmp_path / "x.bin"), input_shapes=(("x", (1, 3, 4, 4)),)))[0][
        "x"
    ].shape == (2, 3, 4, 4)


def test_images(tmp_path: Path) -> None:
    image = pytest.importorskip("PIL.Image", reason="reading images needs Pillow")
    for index in range(2):
        image.fromarray(np.full((9, 7, 3), 100 + index, np.uint8)).save(tmp_path / f"{index}.png")
    found = read_feeds([IMAGE], options(("x", tmp_path), mean=(100.0,), std=(2.0,)))
    assert [float(one["x"].mean()) for one in found] == [0, 0.5]
    assert found[0]["x"].shape == (1, 3, 4, 4)
    last = Input("x", ir.DataType.FLOAT, (1, 4, 4, 3))
    assert read_feeds([last], options(("x", tmp_path / "0.png"), layout="NHWC"))[0]["x"].shape == (1, 4, 4, 3)


@pytest.mark.parametrize(
    ("name", "content", "error"),
    [
        ("x.npy", b"nonsense", Malformed),
        ("x.npy", b"", Malformed),
        ("x.npz", b"PK\x03\x04 cut off", Malformed),
        ("x.bin", b"123", Mismatch),
        ("x.pb", b"\xff\xff\xff", Malformed),
        ("x.pb", b"", InputError),
        ("x.xyz", b"", UsageError),
        ("missing.npy", None, Unreadable),
        ("missing.pb", None, Unreadable),
        ("missing.npz", None, Unreadable),
    ],
)
def test_bad_files_are_said_in_a_sentence(
    tmp_path: Path, name: str, content: bytes | None, error: type[Exception]
) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(error):
        read_feeds([IMAGE], options(("x", tmp_path / name)))


@pytest.mark.parametrize(
    "array", [np.zeros((1, 3, 5, 4), np.float32), np.zeros(7, np.float32), np.array(["a"])]
)
def test_arrays_that_do_not_fit_are_refused(tmp_path: Path, array: np.ndarray) -> None:
    np.save(tmp_path / "x.npy", array)
    with pytest.raises(InputError):
        read_feeds([IMAGE], options(("x", tmp_path / "x.npy")))


def test_pickles_are_not_opened(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.array([{}], object), allow_pickle=True)
    with pytest.raises(Malformed):
        read_feeds([IMAGE], options(("x", tmp_path / "x.npy")))


@pytest.mark.parametrize("content", [b"some text, and no array", b"PK\x03\x04 an archive"])
def test_another_file_under_the_name_of_an_array_is_not_taken_for_a_pickle(
    tmp_path: Path, content: bytes
) -> None:
    (tmp_path / "x.npy").write_bytes(content)
    with pytest.raises(Malformed, match=r"x\.npy: the file is not a \.npy file") as caught:
        read_feeds([IMAGE], options(("x", tmp_path / "x.npy")))
    assert "pickle" not in str(caught.value)


def test_unknown_names_are_wrong(tmp_path: Path) -> None:
    np.savez(tmp_path / "all.npz", z=VALUES)
    text = '<ir_version: 9, opset_import: ["" : 17]> g (float[N] x) => (float[N] y) { y = Relu(x) }'
    with pytest.raises(UsageError, match="'inputs' names 'z'"):
        compare(side(text), side(text), options(("z", tmp_path / "all.npz")))
    with pytest.raises(Mismatch):
        read_feeds([IMAGE], options(("", tmp_path / "all.npz")))


def test_a_threshold_that_no_sample_reaches_is_found_with_and_without_the_users_inputs(
    tmp_path: Path,
) -> None:
    """A threshold far beyond any seeded sample: values beyond it are tried where the models differ."""
    text = (
        '<ir_version: 9, opset_import: ["" : 17]> g (float[1, 4] x) => (float[1, 4] y) {{ y = Clip(x, '
        "low, high) }}"
    )
    made = []
    for high in (1e6, 2e6):
        model = proto(text.replace("{{", "{").replace("}}", "}"))
        model.graph.initializer.extend(
            numpy_helper.from_array(np.float32(v), n) for v, n in ((-1e9, "low"), (high, "high"))
        )
        made.append(model)
    np.save(tmp_path / "x.npy", np.full((1, 4), 3e6, np.float32))
    assert not compare(side(made[0]), side(made[1]), VerifyOptions())
    assert not compare(side(made[0]), side(made[1]), options(("x", tmp_path / "x.npy")))
    assert isinstance(made[0], onnx.ModelProto)
