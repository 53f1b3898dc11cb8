"""Any number of inputs, a batch at a time: every kind of file gives the same rows, and what does not fit says
where."""

from __future__ import annotations

import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import numpy_helper
from PIL import Image

from bnfold.errors import InputError, Malformed, Mismatch, Unreadable, UsageError
from bnfold.ir.graph import ir
from bnfold.results.options import RecalibrateOptions
from bnfold.verifying.inputs.samples import Input
from bnfold.verifying.inputs.streams import Batches, streams

FLOAT = ir.DataType.FLOAT
FREE = Input("x", FLOAT, ("N", 3, 4, 4))
FIXED = Input("x", FLOAT, (4, 3, 4, 4))
ANY_SIZE = Input("x", FLOAT, ("N", 3, None, None))
ROWS = np.random.default_rng(0).normal(size=(10, 3, 4, 4)).astype(np.float32)


def batches(*inputs: Input, data: Any, size: int | None = None, **more: Any) -> Batches:
    return Batches(streams(inputs, RecalibrateOptions(recalibrate=data, **more)), size)


def fed(found: Batches, every: int = 1) -> list[np.ndarray]:
    return [feeds["x"] for _, feeds in found(every)]


def whole(found: Batches) -> np.ndarray:
    return np.concatenate(fed(found))


def npy(folder: Path) -> Any:
    np.save(folder / "x.npy", ROWS)
    return str(folder / "x.npy")


def npz(folder: Path) -> Any:
    np.savez(folder / "x.npz", x=ROWS)
    return str(folder / "x.npz")


def packed(folder: Path) -> Any:
    np.savez_compressed(folder / "x.npz", anything=ROWS)
    return str(folder / "x.npz")


def by_columns(folder: Path) -> Any:
    np.savez(folder / "x.npz", x=np.asfortranarray(ROWS))
    return {"x": str(folder / "x.npz")}


def tensor(folder: Path) -> Any:
    (folder / "x.pb").write_bytes(numpy_helper.from_array(ROWS).SerializeToString())
    return str(folder / "x.pb")


def raw(folder: Path) -> Any:
    (folder / "x.bin").write_bytes(ROWS.tobytes())
    return str(folder / "x.bin")


def several(folder: Path) -> Any:
    for number, part in enumerate((ROWS[:1], ROWS[1:8], ROWS[8:])):
        np.save(folder / f"{number}.npy", part)
    return [str(folder / f"{number}.npy") for number in range(3)]


def single_rows(folder: Path) -> Any:
    for number, row in enumerate(ROWS):
        np.save(folder / f"{number}.npy", row)
    return [str(folder / f"{number}.npy") for number in range(10)]


def double(folder: Path) -> Any:
    np.save(folder / "x.npy", ROWS.astype(np.float64))
    return str(folder / "x.npy")


def mixed(folder: Path) -> Any:
    np.save(folder / "x.npy", ROWS[:3])
    return [str(folder / "x.npy"), ROWS[3:]]


@pytest.mark.parametrize("size", [1, 3, 4, None])
@pytest.mark.parametrize(
    "made", [npy, npz, packed, by_columns, tensor, raw, several, single_rows, double, mixed]
)
def test_every_kind_of_file_gives_the_same_rows(tmp_path, made, size):
    found = batches(FREE, data=made(tmp_path), size=size)
    assert (found.count, found.left_out) == (10, 0)
    for _ in range(2):  # one pass, and another
        assert np.array_equal(whole(found), ROWS)
    assert all(len(batch) <= (size or 32) for batch in fed(found))


def test_a_batch_never_holds_rows_of_both_halves():
    sizes = [len(batch) for batch in fed(batches(FREE, data=ROWS[:9], size=4))]
    assert sizes == [4, 4, 1]
    assert [start for start, _ in batches(FREE, data=ROWS, size=4)()] == [0, 4, 5, 9]


def test_a_fixed_batch_takes_so_many_and_counts_the_rest():
    found = batches(FIXED, data=ROWS)
    assert (found.count, found.left_out, found.units) == (8, 2, 2)
    assert np.array_equal(whole(found), ROWS[:8])


def test_a_fixed_batch_is_filled_from_several_files(tmp_path):
    assert np.array_equal(whole(batches(FIXED, data=several(tmp_path))), ROWS[:8])


def test_too_few_for_a_batch():
    with pytest.raises(Mismatch, match="expected at least 4, the batch of input 'x'"):
        batches(FIXED, data=ROWS[:3])


def test_mixed_sizes_are_never_in_one_batch():
    small, large = ROWS[:5], np.zeros((5, 3, 6, 8), np.float32)
    shapes = [batch.shape for batch in fed(batches(ANY_SIZE, data=[small, large, small]))]
    assert {shape[2:] for shape in shapes} == {(4, 4), (6, 8)}
    assert sum(shape[0] for shape in shapes) == 15


def test_a_fixed_batch_of_rows_that_change_their_shape():
    one = Input("x", FLOAT, (4, 3, None, None))
    with pytest.raises(Mismatch, match="change their shape at row 5"):
        fed(batches(one, data=[ROWS[:5], np.zeros((7, 3, 6, 8), np.float32)]))


@given(st.lists(st.integers(1, 9), min_size=1, max_size=6), st.integers(1, 12), st.integers(1, 4))
def test_any_files_in_any_batches(sizes, size, every):
    rows = np.arange(sum(sizes) * 2, dtype=np.float32).reshape(-1, 2)
    parts = np.split(rows, np.cumsum(sizes)[:-1])
    found = batches(Input("x", FLOAT, ("N", 2)), data=list(parts), size=size)
    assert np.array_equal(whole(found), rows)
    chosen = fed(found, every)
    assert all(np.array_equal(a, b) for a, b in zip(chosen, fed(found)[::every], strict=True))
    for start, feeds in found():
        assert np.array_equal(feeds["x"][0], rows[start])


# -- several inputs

OTHER = Input("z", FLOAT, ("N", 2))


def test_several_inputs_go_together():
    z = np.arange(20, dtype=np.float32).reshape(10, 2)
    seen = list(batches(FREE, OTHER, data={"x": ROWS, "z": z}, size=3)())
    assert np.array_equal(np.concatenate([feeds["z"] for _, feeds in seen]), z)


def test_one_row_is_for_all():
    z = np.array([[5, 6]], np.float32)
    found = batches(FREE, OTHER, data={"x": ROWS, "z": z}, size=4)
    for _, feeds in found():
        assert feeds["z"].tolist() == [[5, 6]] * len(feeds["x"])
    assert found.count == 10


def test_a_table_that_has_no_batch_is_given_as_it_is():
    table = Input("z", FLOAT, (2, 2))
    for _, feeds in batches(FREE, table, data={"x": ROWS, "z": np.ones((2, 2))}, size=4)():
        assert feeds["z"].shape == (2, 2)


def test_a_number_is_given_as_it_is():
    number = Input("z", FLOAT, ())
    for _, feeds in batches(FREE, number, data={"x": ROWS, "z": np.float32(3)}, size=4)():
        assert feeds["z"].shape == ()
        assert feeds["z"] == 3


def test_a_free_batch_beside_a_fixed_one():
    size = Input("z", FLOAT, (1, 2))
    z = np.arange(20, dtype=np.float32).reshape(10, 2)
    seen = list(batches(FREE, size, data={"x": ROWS, "z": z})())
    assert [(feeds["x"].shape[0], feeds["z"].shape[0]) for _, feeds in seen] == [(1, 1)] * 10


@pytest.mark.parametrize("rows", [2, 9, 11])
def test_another_number_of_rows_is_refused(rows):
    with pytest.raises(Mismatch, match="as many of each input, or one for all"):
        batches(FREE, OTHER, data={"x": ROWS, "z": np.zeros((rows, 2), np.float32)})


def test_an_input_without_data_is_named():
    with pytest.raises(UsageError, match="nothing is given for the input 'z'"):
        batches(FREE, OTHER, data={"x": ROWS})


def test_an_archive_serves_all_inputs(tmp_path):
    np.savez(tmp_path / "all.npz", x=ROWS, z=np.ones((10, 2), np.float32))
    (_, feeds), *_ = batches(FREE, OTHER, data=str(tmp_path / "all.npz"))()
    assert set(feeds) == {"x", "z"}
    np.savez(tmp_path / "odd.npz", x=ROWS, q=ROWS)
    with pytest.raises(Mismatch, match="holds an array 'q'"):
        batches(FREE, OTHER, data=str(tmp_path / "odd.npz"))


# -- images


def pictures(folder: Path, count: int = 5) -> np.ndarray:
    random = np.random.default_rng(0)
    pixels = random.integers(0, 256, (count, 4, 4, 3), dtype=np.uint8)
    for number, values in enumerate(pixels):
        Image.fromarray(values).save(folder / f"{number}.png")
    (folder / "notes.txt").write_text("no image")
    return pixels


def test_a_folder_of_images(tmp_path):
    pixels = pictures(tmp_path)
    found = batches(FREE, data=str(tmp_path), size=2, mean=(1, 2, 3), std=(2, 2, 4))
    expected = ((pixels - np.array([1, 2, 3])) / np.array([2, 2, 4])).transpose(0, 3, 1, 2)
    assert np.allclose(whole(found), expected)
    assert found.count == 5


def test_a_fixed_batch_of_images(tmp_path):
    pictures(tmp_path, 9)
    assert whole(batches(FIXED, data=str(tmp_path))).shape == (8, 3, 4, 4)


def test_images_with_channels_last(tmp_path):
    pixels = pictures(tmp_path)
    one = Input("x", FLOAT, ("N", 4, 4, 3))
    assert np.allclose(whole(batches(one, data=str(tmp_path), layout="NHWC")), pixels)


def test_images_of_a_network_of_any_size(tmp_path):
    pictures(tmp_path)
    with pytest.raises(UsageError, match="no fixed shape"):
        batches(ANY_SIZE, data=str(tmp_path))
    found = batches(ANY_SIZE, data=str(tmp_path), input_shapes={"x": (1, 3, 8, 8)})
    assert whole(found).shape == (5, 3, 8, 8)


def test_a_damaged_image_is_named(tmp_path):
    pictures(tmp_path)
    (tmp_path / "3.png").write_bytes(b"no image")
    with pytest.raises(Malformed, match=r"3\.png"):
        whole(batches(FREE, data=str(tmp_path)))


def test_images_that_are_passed_over_are_not_even_read(tmp_path):
    pictures(tmp_path, 6)
    (tmp_path / "1.png").write_bytes(b"no image")
    assert len(fed(batches(FREE, data=str(tmp_path), size=1), every=2)) == 3


def test_an_empty_folder(tmp_path):
    with pytest.raises(Unreadable, match="no images"):
        batches(FREE, data=str(tmp_path))


# -- what does not fit


@pytest.mark.parametrize(
    ("values", "words"),
    [
        (np.zeros((4, 3, 4), np.float32), "shape"),
        (np.zeros((2, 4, 4, 4), np.float32), "shape"),
        (np.zeros((2, 2, 3, 4, 4), np.float32), "shape"),
        (np.zeros((0, 3, 4, 4), np.float32), "no row"),
        (np.zeros((2, 3, 4, 4), complex), "complex"),
        (np.array([["a"]]), "<U1"),
    ],
)
@pytest.mark.parametrize("suffix", ["npy", "npz"])
def test_arrays_that_do_not_fit(tmp_path, values, words, suffix):
    path = tmp_path / f"x.{suffix}"
    np.save(path, values) if suffix == "npy" else np.savez(path, x=values)
    with pytest.raises(Mismatch, match=words) as caught:
        batches(FREE, data=str(path))
    assert str(caught.value).startswith(str(path))
    with pytest.raises(UsageError, match=words):
        batches(FREE, data=values)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("made", [npy, npz, packed, several])
def test_numbers_that_are_not_finite_are_named_by_file_and_row(tmp_path, monkeypatch, made, bad):
    spoiled = ROWS.copy()
    spoiled[8, 2, 1, 0] = bad
    monkeypatch.setitem(globals(), "ROWS", spoiled)
    data = made(tmp_path)
    row, file = (0, "2.npy") if made is several else (8, data.rpartition("/")[2])
    with pytest.raises(Malformed, match=rf"{file}: input {row} holds a number that is not finite \({bad}\)"):
        whole(batches(FREE, data=data, size=3))


def test_a_number_that_is_not_finite_among_single_numbers():
    with pytest.raises(UsageError, match=r"input 3 holds a number that is not finite \(nan\)"):
        whole(batches(Input("x", FLOAT, ("N",)), data=np.where(np.arange(6) == 3, np.nan, 1.0)))


def test_what_overflows_in_the_type_of_the_input_is_not_finite():
    half = Input("x", ir.DataType.FLOAT16, ("N", 3, 4, 4))
    with pytest.raises(UsageError, match="input 2 holds a number that is not finite"):
        whole(batches(half, data=np.where(np.arange(10)[:, None, None, None] == 2, 1e6, ROWS)))


def test_integers_are_floats_but_not_the_other_way_round():
    assert whole(batches(FREE, data=np.ones((2, 3, 4, 4), np.uint8))).dtype == np.float32
    with pytest.raises(UsageError):
        batches(Input("x", ir.DataType.INT64, ("N", 3, 4, 4)), data=ROWS)


def test_a_damaged_archive_is_named(tmp_path):
    whole_file = Path(packed(tmp_path)).read_bytes()
    for size in range(0, len(whole_file), 97):
        path = tmp_path / "cut.npz"
        path.write_bytes(whole_file[:size])
        with pytest.raises(InputError):
            whole(batches(FREE, data=str(path)))


def test_a_bit_that_flips_within_an_archive_is_found(tmp_path):
    content = bytearray(Path(npz(tmp_path)).read_bytes())
    content[len(content) // 2] ^= 1
    (tmp_path / "flipped.npz").write_bytes(content)
    with pytest.raises(InputError):
        whole(batches(FREE, data=str(tmp_path / "flipped.npz")))


def test_an_archive_that_claims_too_much(tmp_path, monkeypatch):
    from bnfold.verifying.inputs import user_files

    monkeypatch.setattr(user_files, "UNPACKED", 10)
    monkeypatch.setattr(user_files, "PER_BYTE", 0)
    with pytest.raises(Malformed, match="unpacks to"):
        batches(FREE, data=npz(tmp_path))


def test_a_tensor_file_with_external_data(tmp_path):
    proto = numpy_helper.from_array(ROWS)
    onnx.external_data_helper.set_external_data(proto, "somewhere")
    (tmp_path / "x.pb").write_bytes(proto.SerializeToString())
    with pytest.raises(Malformed, match="another file"):
        batches(FREE, data=str(tmp_path / "x.pb"))


# -- memory


@pytest.mark.parametrize("suffix", ["npy", "npz"])
def test_memory_does_not_grow_with_the_number_of_inputs(tmp_path, suffix):
    one = Input("x", FLOAT, ("N", 3, 32, 32))
    peaks = []
    for rows in (400, 4000):
        path = tmp_path / f"{rows}.{suffix}"
        values = np.ones((rows, 3, 32, 32), np.float32)
        np.save(path, values) if suffix == "npy" else np.savez_compressed(path, x=values)
        del values
        tracemalloc.start()
        for _, feeds in batches(one, data=str(path))():
            del feeds
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 1.2 * peaks[0] + 100_000
