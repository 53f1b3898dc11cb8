"""ONNX out: streamed, identical, atomic."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import numpy_helper, parser

from bnfold import writing
from bnfold.errors import Unsupported, WriteError
from bnfold.ir import tensor
from bnfold.reading.onnx.reader import read
from bnfold.writing import layout

TEXT = """<ir_version: 9, opset_import: ["" : 17]> net (float[N, 3] x) => (float[N, 400] y) { h = MatMul (x, w)
  y = Add (h, b) }"""


def model() -> ir.Model:
    proto = parser.parse_model(TEXT)
    rng = np.random.default_rng(0)
    for name, shape in (("w", (3, 400)), ("b", (400,))):
        proto.graph.initializer.append(
            numpy_helper.from_array(rng.normal(size=shape).astype(np.float32), name)
        )
    return read(proto.SerializeToString()).model


def arrays(path: Path) -> dict[str, np.ndarray]:
    return {t.name: numpy_helper.to_array(t) for t in onnx.load(path).graph.initializer}


@pytest.mark.parametrize("external", [False, True])
def test_what_is_written_is_what_was_there(tmp_path: Path, external: bool) -> None:
    with writing.write(model(), tmp_path / "net.onnx", external_data=external) as written:
        assert written.commit() == tmp_path / "net.onnx"
    onnx.checker.check_model(str(tmp_path / "net.onnx"), full_check=True)
    assert written.size == sum(f.stat().st_size for f in tmp_path.iterdir())
    wanted = {
        name: v.const_value.numpy()
        for name, v in model().graph.initializers.items()
        if v.const_value is not None
    }
    found = arrays(tmp_path / "net.onnx")
    assert found.keys() == wanted.keys()
    assert all(np.array_equal(found[name], wanted[name]) for name in wanted)


@pytest.mark.parametrize("external", [False, True])
def test_the_same_model_gives_the_same_bytes(tmp_path: Path, external: bool) -> None:
    contents = []
    for _ in range(2):
        with writing.write(model(), tmp_path / "net.onnx", external_data=external) as written:
            written.commit()
        contents.append({f.name: f.read_bytes() for f in tmp_path.iterdir()})
    assert contents[0] == contents[1]


def test_the_data_file_is_named_by_its_content_and_tensors_are_aligned(tmp_path: Path) -> None:
    with writing.write(model(), tmp_path / "net.onnx", external_data=True) as written:
        written.commit()
    proto = onnx.load(tmp_path / "net.onnx", load_external_data=False)
    entries = [{e.key: e.value for e in t.external_data} for t in proto.graph.initializer]
    assert {e["location"] for e in entries} == {f.name for f in tmp_path.iterdir()} - {"net.onnx"}
    assert all(int(e["offset"]) % 64 == 0 for e in entries)


def test_small_models_have_no_data_file(tmp_path: Path) -> None:
    small = read(
        parser.parse_model(
            '<ir_version: 9, opset_import: ["" : 17]> g (float[2] x) => (float[2] y) { y = Relu (x) }'
        )
    ).model
    with writing.write(small, tmp_path / "net.onnx", external_data=True) as written:
        written.commit()
    assert [f.name for f in tmp_path.iterdir()] == ["net.onnx"]


@pytest.mark.parametrize("external", [False, True])
def test_nothing_stays_behind_without_a_commit(tmp_path: Path, external: bool) -> None:
    (tmp_path / "net.onnx").write_bytes(b"old")
    with writing.write(model(), tmp_path / "net.onnx", external_data=external) as written:
        assert written.path.exists()
    assert {f.name: f.read_bytes() for f in tmp_path.iterdir()} == {"net.onnx": b"old"}


def test_discarding_leaves_a_data_file_that_was_there_before(tmp_path: Path) -> None:
    with writing.write(model(), tmp_path / "net.onnx", external_data=True) as written:
        written.commit()
    before = sorted(f.name for f in tmp_path.iterdir())
    with writing.write(model(), tmp_path / "net.onnx", external_data=True):
        pass
    assert sorted(f.name for f in tmp_path.iterdir()) == before
    onnx.checker.check_model(str(tmp_path / "net.onnx"))


def broken(error: BaseException) -> ir.Model:
    """A model whose weight cannot be made: the error comes after a few blocks."""
    made = model()

    def blocks() -> Iterator[np.ndarray]:
        yield np.zeros(600, np.float32)
        raise error

    made.graph.initializers["w"].const_value = tensor.Recipe(ir.DataType.FLOAT, (3, 400), blocks)
    return made


@pytest.mark.parametrize("error", [Unsupported("no"), KeyboardInterrupt(), MemoryError()])
@pytest.mark.parametrize("external", [False, True])
def test_a_failure_on_the_way_leaves_nothing(tmp_path: Path, error: BaseException, external: bool) -> None:
    with pytest.raises(type(error)):
        writing.write(broken(error), tmp_path / "net.onnx", external_data=external)
    assert list(tmp_path.iterdir()) == []


def test_large_recipes_are_made_ahead_and_their_errors_arrive(tmp_path: Path) -> None:
    made = model()
    size = 3 << 20

    def blocks(fail: bool) -> Iterator[np.ndarray]:
        for k in range(3):
            yield np.full(1 << 20, k, np.float32)
        if fail:
            raise Unsupported("late")

    made.graph.initializers["w"].const_value = tensor.Recipe(
        ir.DataType.FLOAT, (3, 1 << 20), lambda: blocks(False)
    )
    with writing.write(made, tmp_path / "net.onnx") as written:
        written.commit()
    assert arrays(tmp_path / "net.onnx")["w"].sum() == size
    made.graph.initializers["w"].const_value = tensor.Recipe(
        ir.DataType.FLOAT, (3, 1 << 20), lambda: blocks(True)
    )
    with pytest.raises(Unsupported, match="late"):
        writing.write(made, tmp_path / "other.onnx")
    assert [f.name for f in tmp_path.iterdir()] == ["net.onnx"]


def test_targets_that_cannot_be_written(tmp_path: Path) -> None:
    with pytest.raises(WriteError, match="folder does not exist"):
        writing.write(model(), tmp_path / "none" / "net.onnx")
    with pytest.raises(WriteError, match="is a folder"):
        writing.write(model(), tmp_path)
    with pytest.raises(WriteError, match="not a regular file"):
        writing.write(model(), "/dev/null")
    if os.geteuid():
        tmp_path.chmod(0o500)
        with pytest.raises(WriteError, match="permission"):
            writing.write(model(), tmp_path / "net.onnx")


def test_a_link_keeps_pointing_at_its_file(tmp_path: Path) -> None:
    (tmp_path / "real.onnx").write_bytes(b"old")
    (tmp_path / "link.onnx").symlink_to(tmp_path / "real.onnx")
    with writing.write(model(), tmp_path / "link.onnx") as written:
        written.commit()
    assert (tmp_path / "link.onnx").is_symlink()
    assert arrays(tmp_path / "real.onnx").keys() == {"w", "b"}


def test_the_file_read_may_be_the_file_written(tmp_path: Path) -> None:
    with writing.write(model(), tmp_path / "net.onnx") as written:
        written.commit()
    before = (tmp_path / "net.onnx").read_bytes()
    again = read(tmp_path / "net.onnx").model
    with writing.write(again, tmp_path / "net.onnx") as written:
        written.commit()
    assert (tmp_path / "net.onnx").read_bytes() == before


def test_a_model_above_two_gigabytes_goes_beside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(layout, "LIMIT", 4000)
    with writing.write(model(), tmp_path / "net.onnx") as written:
        written.commit()
    assert len(list(tmp_path.iterdir())) == 2
    with pytest.raises(Unsupported, match="ModelProto"):
        writing.to_proto(model())


def test_in_memory_it_is_the_same_model() -> None:
    assert {t.name for t in writing.to_proto(model()).graph.initializer} == {"w", "b"}
