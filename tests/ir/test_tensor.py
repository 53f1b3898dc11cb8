"""Deferred tensors: windows copy nothing and refuse what their buffer does not hold; recipes run when asked,
each time anew."""

import gc

import numpy as np
import onnx_ir as ir
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper

from bnfold.errors import Malformed, Unreadable
from bnfold.ir import tensor
from bnfold.ir.tensor import FileMap, Recipe, Window

FLOAT = ir.DataType.FLOAT
WHOLE_BYTES = [
    d for d in ir.DataType if d not in (ir.DataType.UNDEFINED, ir.DataType.STRING) and d.bitwidth >= 8
]


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "net.weights"
    path.write_bytes(np.arange(10, dtype="<f4").tobytes())
    return path


def recipe(*pieces, shape=None, dtype=FLOAT):
    arrays = [np.asarray(piece, dtype.numpy()) for piece in pieces]
    return Recipe(dtype, shape or (sum(a.size for a in arrays),), lambda: iter(arrays), "r")


def test_a_map_is_the_file(file):
    mapped = FileMap(file)
    assert len(mapped) == 40
    assert bytes(mapped.view) == file.read_bytes()
    assert mapped.path == file
    with pytest.raises(TypeError):
        mapped.view[0] = 1


@pytest.mark.parametrize(
    ("name", "words"),
    [("missing", "cannot be read"), (".", "cannot be read"), ("empty", "the file is empty")],
)
def test_what_cannot_be_mapped_is_unreadable(tmp_path, name, words):
    (tmp_path / "empty").touch()
    with pytest.raises(Unreadable, match=words) as caught:
        FileMap(tmp_path / name)
    assert str(tmp_path) in str(caught.value)


def test_a_window_keeps_its_map(file):
    window = Window(FileMap(file).view, 8, FLOAT, (2, 3), "w")
    gc.collect()
    assert window.numpy().tolist() == [[2, 3, 4], [5, 6, 7]]
    assert (window.name, window.dtype, window.shape.numpy(), window.nbytes) == ("w", FLOAT, (2, 3), 24)


def test_a_window_copies_nothing():
    buffer = bytearray(16)
    window = Window(memoryview(buffer), 4, FLOAT, (2,))
    buffer[4:12] = np.array([1, 2], "<f4").tobytes()
    assert window.numpy().tolist() == [1, 2]
    assert np.shares_memory(window.numpy(), np.frombuffer(buffer, np.uint8))


@given(st.binary(max_size=64), st.integers(-8, 80), st.lists(st.integers(0, 5), max_size=3))
def test_a_window_holds_what_its_buffer_holds_or_is_malformed(data, offset, shape):
    size = 4 * int(np.prod(shape, dtype=int))
    if offset >= 0 and offset + size <= len(data):
        assert b"".join(Window(data, offset, FLOAT, shape).blocks()) == data[offset : offset + size]
    else:
        with pytest.raises(Malformed):
            Window(data, offset, FLOAT, shape)


def test_an_absurd_claim_allocates_nothing():
    with pytest.raises(
        Malformed,
        match=r"tensor 'w' needs 4,000,000,000,000,000,000 bytes at offset 0, the file has 4 in all",
    ):
        Window(b"1234", 0, FLOAT, (10**6, 10**6, 10**6), "w")


@pytest.mark.parametrize("shape", [(-1,), (-1, -1), (2, -1)])
def test_a_negative_dimension_is_malformed(shape):
    with pytest.raises(Malformed, match=r"tensor 'w' has the shape"):
        Window(b"1234", 0, FLOAT, shape, "w")


@pytest.mark.parametrize("dtype", WHOLE_BYTES, ids=lambda d: d.name)
def test_every_type_passes_through_unchanged(dtype):
    data = bytes(range(48))
    window = Window(data, 0, dtype, (48 * 8 // dtype.bitwidth,))
    assert window.numpy().dtype == dtype.numpy()
    assert window.tobytes() == window.numpy().tobytes() == data


@pytest.mark.parametrize("dtype", [ir.DataType.INT4, ir.DataType.UINT4], ids=lambda d: d.name)
def test_packed_types_take_half_a_byte(dtype):
    window = Window(b"\x21\x03", 0, dtype, (3,))
    assert tensor.nbytes(dtype, (3,)) == 2
    assert window.numpy().astype(int).tolist() == [1, 2, 3]
    assert window.tobytes() == b"\x21\x03"


def test_a_scalar_and_an_empty_tensor_are_tensors():
    assert Window(np.float32(7).tobytes(), 0, FLOAT, ()).numpy() == 7
    assert Window(b"", 0, FLOAT, (0, 3)).numpy().shape == (0, 3)


def test_large_windows_come_in_blocks(tmp_path):
    values = np.arange(3_000_000, dtype="<f4")
    window = Window(values.tobytes(), 0, FLOAT, values.shape)
    blocks = list(window.blocks())
    assert len(blocks) > 5
    assert b"".join(blocks) == values.tobytes()
    with (tmp_path / "out").open("wb") as out:
        window.tofile(out)
    assert (tmp_path / "out").read_bytes() == values.tobytes()


def test_a_recipe_is_made_when_it_is_asked_each_time():
    calls = []

    def arrays():
        calls.append(1)
        yield np.array([1, 2], np.float32)
        yield np.array([[3], [4]], np.float32)

    made = Recipe(FLOAT, (2, 2), arrays, "r")
    assert calls == []
    assert made.numpy().tolist() == [[1, 2], [3, 4]]
    assert made.tobytes() == np.array([1, 2, 3, 4], "<f4").tobytes()
    assert len(calls) == 2


def test_a_recipe_stores_rows_whatever_its_arrays_layout():
    turned = np.arange(6, dtype=np.float32).reshape(2, 3).T
    assert recipe(turned, shape=(3, 2)).tobytes() == np.ascontiguousarray(turned).tobytes()


def test_a_recipe_is_made_while_numpy_is_silent_and_leaves_its_state_alone():
    """What a file holds may be NaN or too large, which is no warning. (Every warning is an error here.)"""

    def arrays():
        yield np.sqrt(np.full(2, -1, np.float32))
        yield np.full(2, 1e300).astype(np.float32)

    made = Recipe(FLOAT, (4,), arrays)
    before = np.geterr()
    next(made.blocks())
    assert np.geterr() == before
    np.testing.assert_array_equal(made.numpy(), [np.nan, np.nan, np.inf, np.inf])
    at_once = Recipe(FLOAT, (2,), lambda: iter([np.log(np.zeros(2, np.float32))]))
    np.testing.assert_array_equal(at_once.numpy(), [-np.inf, -np.inf])


@pytest.mark.parametrize("pieces", [([1, 2, 3],), ([1, 2, 3], [4, 5])], ids=["too few", "too many"])
def test_a_recipe_that_does_not_fill_its_shape_is_a_bug_that_shows(pieces):
    with pytest.raises(ValueError):
        recipe(*pieces, shape=(2, 2)).numpy()


def test_the_ir_sees_a_tensor(file):
    window = Window(FileMap(file).view, 0, FLOAT, (10,), "w")
    value = ir.Value(name="w", const_value=window)
    assert value.const_value.numpy().sum() == 45
    assert ir.serde.serialize_tensor(window).raw_data == file.read_bytes()
    assert "w" in repr(window)


def test_stand_ins_replace_bytes_only_while_asked():
    window, other = Window(b"abcd", 0, FLOAT, (1,), "w"), Window(b"efgh", 0, FLOAT, (1,), "o")
    with tensor.standing_in(lambda each: b"?" if each is window else None):
        assert (window.tobytes(), other.tobytes()) == (b"?", b"efgh")
        assert b"".join(window.blocks()) == b"abcd"
    assert window.tobytes() == b"abcd"


def test_stand_ins_end_with_an_error():
    window = Window(b"abcd", 0, FLOAT, (1,))
    with pytest.raises(KeyError), tensor.standing_in(lambda _: b"?"):
        raise KeyError
    assert window.tobytes() == b"abcd"


@pytest.mark.parametrize(
    "values",
    [np.float32(3), np.arange(6).reshape(2, 3).T, np.zeros((0, 2), np.float16)],
    ids=lambda v: str(v.shape),
)
def test_from_array_keeps_type_and_shape(values):
    made = tensor.from_array(values, "c")
    assert made.shape.numpy() == values.shape
    assert made.numpy().dtype == values.dtype
    assert (made.numpy() == values).all()
    assert b"".join(tensor.blocks(made)) == np.ascontiguousarray(values).tobytes()


@pytest.mark.parametrize(
    "stored",
    [
        helper.make_tensor("raw", TensorProto.FLOAT, [2, 2], np.arange(4, dtype="<f4").tobytes(), raw=True),
        helper.make_tensor("listed", TensorProto.FLOAT, [2, 2], [0, 1, 2, 3]),
        helper.make_tensor("half", TensorProto.FLOAT16, [2], np.arange(2, dtype="<f2").tobytes(), raw=True),
        helper.make_tensor("empty", TensorProto.FLOAT, [0, 3], b"", raw=True),
        helper.make_tensor("scalar", TensorProto.FLOAT, [], np.float32(5).tobytes(), raw=True),
    ],
    ids=lambda stored: stored.name,
)
def test_a_tensor_in_its_proto_is_read_where_it_lies(stored):
    found = ir.serde.TensorProtoTensor(stored)
    values = tensor.array(found)
    assert values.dtype == found.numpy().dtype and np.array_equal(values, found.numpy())
    assert tensor.dims(found) == values.shape and tensor.elements(found) == values.size
