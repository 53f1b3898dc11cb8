"""Models behind URLs: in memory, on a web server, in an S3 store. Staged, folded, delivered; nothing of a
credential is told."""

from __future__ import annotations

import io
import json
import os
import sys
from collections.abc import Iterator
from contextlib import redirect_stderr, redirect_stdout
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import onnx
import pytest

import bnfold
from bnfold.batch import locations
from bnfold.batch.companions import companions
from bnfold.cli.main import run
from bnfold.errors import Unreadable, UsageError

from ..models import CONV_BN_RELU, model
from . import zoo

fsspec = pytest.importorskip("fsspec", reason="needs the extra 'remote'")


def batch(*arguments: object) -> tuple[int, str, str]:
    """(exit code, stdout, stderr) of the command in this process, where memory:// lives."""
    out, err = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err):
        code = run(["batch", *map(str, arguments)])
    return code, out.getvalue(), err.getvalue()


@pytest.fixture(autouse=True)
def signals(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("signal.signal", lambda *_: None)


def with_data(folder: Path) -> Path:
    """A model with its weights beside it."""
    path = folder / "big.onnx"
    onnx.save(
        model(zoo.WIDE), path, save_as_external_data=True, location="weights/big.data", size_threshold=0
    )
    return path


@pytest.fixture
def memory(tmp_path: Path) -> Iterator[Any]:
    fs = fsspec.filesystem("memory")
    fs.store.clear()
    fs.pseudo_dirs[:] = [""]
    yield fs
    fs.store.clear()


@pytest.fixture
def models(tmp_path: Path) -> Path:
    """A folder with one model of each kind."""
    folder = tmp_path / "models"
    (folder / "weights").mkdir(parents=True)
    with_data(folder)
    zoo.darknet(folder / "yolo.cfg", 1)
    zoo.caffe(folder / "deploy.prototxt", 2)
    return folder


def test_memory_in_and_out_and_a_second_run_does_nothing(memory: Any, models: Path, tmp_path: Path) -> None:
    memory.put(f"{models}/", "/zoo", recursive=True)
    code, _, err = batch(
        "memory://zoo", "--out", "memory://made", "--external-data", "--json", tmp_path / "r.json"
    )
    assert (code, err.splitlines()[-1]) == (0, "bnfold: PASS models=3 passed=3")
    names = {path.removeprefix("/made/") for path in memory.find("/made")}
    assert {"big.onnx", "yolo.onnx", "deploy.onnx", "big.html", "big.result.json"} <= names
    assert [name for name in names if name.endswith(".data")], "weights in a file of their own"
    told = json.loads((tmp_path / "r.json").read_text())
    assert {one["network"] for one in told["runs"]} == {
        "memory:///zoo/big.onnx",
        "memory:///zoo/yolo.cfg",
        "memory:///zoo/deploy.prototxt",
    }
    assert {one["output"] for one in told["runs"]} == {
        f"memory://made/{name}.onnx" for name in ("big", "yolo", "deploy")
    }
    assert "/tmp" not in (tmp_path / "r.json").read_text()
    memory.get("/made", str(tmp_path / "back"), recursive=True)
    folder = tmp_path / "back"
    assert bnfold.verify(bnfold.load(models / "big.onnx"), bnfold.load(folder / "big.onnx"))
    assert bnfold.verify(
        bnfold.load(models / "yolo.cfg", models / "yolo.weights"), bnfold.load(folder / "yolo.onnx")
    )
    again = batch("memory://zoo", "--out", "memory://made", "--external-data")
    assert again[2].splitlines()[-1] == "bnfold: PASS models=3 unchanged=3"
    memory.pipe_file(
        "/zoo/yolo.weights", zoo.darknet(models / "yolo.cfg", 5).with_suffix(".weights").read_bytes()
    )
    third = batch("memory://zoo", "--out", "memory://made", "--external-data")
    assert third[2].splitlines()[-1] == "bnfold: PASS models=3 passed=1 unchanged=2"


def test_a_manifest_behind_a_url_names_what_lies_beside_it(memory: Any, models: Path, tmp_path: Path) -> None:
    memory.put(f"{models}/", "/zoo", recursive=True)
    memory.pipe_file("/zoo/list.csv", b"model,name\nyolo.cfg,detection/yolo\n*.prototxt,\n")
    code, _, err = batch("memory://zoo/list.csv", "--out", tmp_path / "out", "-q")
    assert (code, err) == (0, "bnfold: PASS models=2 passed=2\n")
    assert (tmp_path / "out" / "detection" / "yolo.onnx").is_file()
    memory.pipe_file("/zoo/list.csv", b"model,nam\nyolo.cfg,x\n")
    assert (
        "memory://zoo/list.csv:2: unknown key 'nam'"
        in batch("memory://zoo/list.csv", "--out", tmp_path / "out")[2]
    )


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def server(models: Path) -> Iterator[str]:
    pytest.importorskip("aiohttp", reason="needs the extra 'remote'")
    started = ThreadingHTTPServer(("127.0.0.1", 0), partial(_Quiet, directory=str(models)))
    Thread(target=started.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{started.server_address[1]}"
    started.shutdown()
    started.server_close()


def test_a_web_server_with_external_data_and_a_signed_address(
    server: str, models: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    signed = f"{server}/big.onnx?X-Signature=hunter2"
    arguments = (
        signed,
        f"{server}/yolo.cfg",
        "--out",
        out,
        "--json",
        tmp_path / "r.json",
        "--report",
        out / "index.html",
    )
    code, shown, err = batch(*arguments)
    assert (code, err.splitlines()[-1]) == (0, "bnfold: PASS models=2 passed=2")
    assert bnfold.verify(bnfold.load(models / "big.onnx"), bnfold.load(out / "big.onnx"))
    everything = (
        shown
        + err
        + "".join(path.read_text(errors="replace") for path in [tmp_path / "r.json", *out.iterdir()])
    )
    assert "hunter2" not in everything
    assert batch(*arguments)[2].splitlines()[-1] == "bnfold: PASS models=2 unchanged=2"


def test_what_is_not_there_is_said_without_the_password(server: str, tmp_path: Path) -> None:
    code, _, err = batch(
        server.replace("://", "://me:hunter2@") + "/none.onnx?key=hunter2", "--out", tmp_path / "out"
    )
    assert code == 3
    assert "hunter2" not in err
    assert "/none.onnx?...: cannot be read (" in err


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    pytest.importorskip("s3fs", reason="needs s3fs")
    moto = pytest.importorskip("moto.server", reason="needs moto[server]")
    started = moto.ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    started.start()
    host, port = started.get_host_and_port()
    for name, value in (
        ("AWS_ACCESS_KEY_ID", "someone"),
        ("AWS_SECRET_ACCESS_KEY", "hunter2"),
        ("AWS_ENDPOINT_URL", f"http://{host}:{port}"),
        ("FSSPEC_S3_ENDPOINT_URL", f"http://{host}:{port}"),
        ("AWS_DEFAULT_REGION", "us-east-1"),
    ):
        monkeypatch.setenv(name, value)
    import s3fs

    s3fs.S3FileSystem.clear_instance_cache()
    fs = s3fs.S3FileSystem(endpoint_url=f"http://{host}:{port}", key="someone", secret="hunter2")
    fs.mkdir("zoo")
    yield fs
    s3fs.S3FileSystem.clear_instance_cache()
    started.stop()


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning")
def test_an_s3_store_in_and_out(bucket: Any, models: Path, tmp_path: Path) -> None:
    bucket.put(str(models), "zoo/nets", recursive=True)
    arguments = (
        "s3://zoo/nets/*.cfg",
        "s3://zoo/nets/big.onnx",
        "--out",
        "s3://zoo/made",
        "--jobs",
        2,
        "--external-data",
    )
    code, _, err = batch(*arguments)
    assert (code, err.splitlines()[-1]) == (0, "bnfold: PASS models=2 passed=2")
    bucket.get("zoo/made", str(tmp_path / "back"), recursive=True)
    assert bnfold.verify(bnfold.load(models / "big.onnx"), bnfold.load(tmp_path / "back" / "big.onnx"))
    assert json.loads((tmp_path / "back" / "yolo.result.json").read_text())["fingerprint"]["inputs"][0][
        1
    ].startswith("etag:")
    assert batch(*arguments)[2].splitlines()[-1] == "bnfold: PASS models=2 unchanged=2"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("s3://bucket/net.onnx", "s3://bucket/net.onnx"),
        ("https://me:secret@host/net.onnx: no", "https://host/net.onnx: no"),
        ("https://host/net.onnx?sig=secret: cannot be read", "https://host/net.onnx?...: cannot be read"),
        ("https://host/net.onnx?sig=a&b=secret", "https://host/net.onnx?..."),
        ("C:\\nets\\what?.onnx", "C:\\nets\\what?.onnx"),
    ],
)
def test_credentials_are_not_told(text: str, shown: str) -> None:
    assert locations.redacted(text) == shown


def test_a_missing_driver_is_wrong_usage(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "gcsfs", None)
    with pytest.raises(UsageError, match="needs a driver that is not installed"):
        locations.store_of("gs://x/y").exists("gs://x/y")
    with pytest.raises(UsageError, match="a URL that fsspec knows"):
        locations.store_of("nonsense://x").exists("nonsense://x")


@pytest.mark.parametrize("arguments", [("gs://x/y.onnx", "--out", "made"), ("net.onnx", "--out", "gs://x/y")])
def test_without_its_driver_nothing_begins(
    arguments: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(sys.modules, "gcsfs", None)
    zoo.onnx(tmp_path / "net.onnx", 0)
    code, _, err = batch(*arguments)
    assert (code, len(err.splitlines())) == (2, 1)
    assert "needs a driver that is not installed (" in err
    monkeypatch.setitem(sys.modules, "fsspec.core", None)
    assert "needs fsspec; pip install fsspec aiohttp requests" in batch(*arguments)[2]


def test_a_file_url_is_a_path(models: Path, tmp_path: Path) -> None:
    assert locations.plain((models / "yolo.cfg").as_uri()) == os.fspath(models / "yolo.cfg")
    code, _, err = batch((models / "yolo.cfg").as_uri(), "--out", (tmp_path / "out").as_uri())
    assert (code, err.splitlines()[-1]) == (0, "bnfold: PASS models=1 passed=1")
    assert (tmp_path / "out" / "yolo.onnx").is_file()


def test_a_delivery_leaves_nothing_else_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = tmp_path / "made"
    source.write_bytes(b"model")
    monkeypatch.setattr(Path, "replace", _other_file_system(Path.replace))
    place = tmp_path / "deep" / "net.onnx"
    made = locations.store_of(str(source)).identity(str(source))
    locations.store_of(str(place)).deliver(source, str(tmp_path), "deep/net.onnx")
    assert locations.store_of(str(place)).identity(str(place)) == made
    assert [path.name for path in place.parent.iterdir()] == ["net.onnx"]
    with pytest.raises(Unreadable, match="no such file"):
        locations.store_of(str(tmp_path)).identity(str(tmp_path / "none"))


def _other_file_system(real: Any) -> Any:
    def replace(self: Path, target: Path) -> Any:
        if self.name == "made":
            raise OSError(18, "Invalid cross-device link")
        return real(self, target)

    return replace


def test_companions_are_found_on_the_wire(tmp_path: Path) -> None:
    (tmp_path / "weights").mkdir()
    assert companions(with_data(tmp_path)) == ["weights/big.data"]
    inner = model(CONV_BN_RELU)
    onnx.external_data_helper.set_external_data(inner.graph.initializer[0], "../outside.data")
    (tmp_path / "bad.onnx").write_bytes(inner.SerializeToString())
    assert companions(tmp_path / "bad.onnx") == []
    (tmp_path / "net.cfg").write_text("[net]\nwidth=4\n[region]\n tree = data/9k.tree # words\n")
    assert companions(tmp_path / "net.cfg") == ["data/9k.tree"]
    (tmp_path / "cut.onnx").write_bytes(b"\x3a\xff\xff")
    assert companions(tmp_path / "cut.onnx") == []
