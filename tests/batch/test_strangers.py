"""Servers that mean harm: names that lead out of the folder of outputs, files without an end, redirects, cut and
swapped files. What is well meant beside them is folded."""

from __future__ import annotations

import itertools
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import onnx
import pytest

from bnfold.batch import downloads, locations
from bnfold.batch.downloads import Downloads, misnamed, refused
from bnfold.batch.output_names import names
from bnfold.errors import Unreadable, UsageError, WriteError
from bnfold.files.discovery import Found
from bnfold.files.names import inside, safe_part

from ..models import CONV_BN_RELU, model
from .server import Server, endless, page, redirect, send
from .test_locations import batch

pytest.importorskip("fsspec", reason="needs the extra 'remote'")
pytest.importorskip("aiohttp", reason="needs the extra 'remote'")

MODEL = model(CONV_BN_RELU).SerializeToString()
CLIMBING = (
    "../pwn.onnx",
    "..%2fpwn.onnx",
    "%2e%2e%2f%2e%2e%2fpwn.onnx",
    "q/..%2f..%2f..%2fpwn.onnx",
    "q/../../../pwn.onnx",
    "..%5c..%5cpwn.onnx",
    "%2fetc%2fpwn.onnx",
    "a%00/pwn.onnx",
    "%0a/..%2f%0d/pwn.onnx",
    ".bnfold-x/pwn.onnx",
    "-rf.onnx",
    "..onnx",
    "NUL.onnx",
    "c%3a/pwn.onnx",
    "%252e%252e/pwn.onnx",
    "ä" * 300 + ".onnx",
)


@pytest.fixture(autouse=True)
def signals(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("signal.signal", lambda *_: None)


@pytest.fixture
def out(tmp_path: Path) -> Path:
    """The folder of outputs, with room above it."""
    (tmp_path / "a" / "b").mkdir(parents=True)
    return tmp_path / "a" / "b" / "out"


def outside(out: Path) -> list[Path]:
    """Files that are in none of the folders that a run may write to."""
    return [path for path in out.parents[2].rglob("*") if not path.is_relative_to(out) and not path.is_dir()]


# Names.


@pytest.mark.parametrize("link", CLIMBING)
def test_a_name_of_an_address_stays_below_the_root(link: str) -> None:
    found = [
        Found(f"http://host/zoo/{link}", None, root) for root in ("http://host/zoo", "", "http://host/x")
    ]
    for one in found:
        (name,) = names([one])
        assert inside(name)
        parts = name.split("/")
        assert all(part == safe_part(part) for part in parts if len(part) < 100), name
        assert all(len(part.encode()) < 200 and part[0] not in ".-" for part in parts)
    two = names([found[0], Found(f"http://other/zoo/{link}", None, "http://other/zoo")])
    assert len(set(two)) == 2
    assert all(map(inside, two))


def test_what_is_made_safe_stays_different() -> None:
    models = [Found(f"http://h/{name}/net.onnx", None, "http://h") for name in ("a:b", "a?b", "a*b")]
    assert len(set(names(models))) == 3
    long = [Found(f"http://h/{'x' * 300}{n}{'y' * 30}.onnx", None, "http://h") for n in "12"]
    assert len(set(names(long))) == 2
    assert safe_part("net-v1.2_é.onnx") == "net-v1.2_é.onnx"


def test_a_listing_that_climbs_writes_below_the_folder_alone(out: Path) -> None:
    links = ("k.onnx", "s/pwn.onnx", *CLIMBING[:6], *CLIMBING[7:10])
    with Server({"/zoo": page(*links)}) as server:
        server.routes |= {f"/zoo/{link}": MODEL for link in links}
        code, _, err = batch(server.at("zoo"), "--out", out, "-q", "--jobs", 1)
    assert outside(out) == []
    assert (out / "k.onnx").is_file(), err
    assert "/pwn.onnx" not in "".join(server.asked[:1])
    assert code in (0, 3)
    assert all(path.is_relative_to(out) for path in out.rglob("*"))


def test_what_lies_outside_a_folder_is_not_listed() -> None:
    links = ("../up.onnx", "/top.onnx", "http://elsewhere/x.onnx", "in.onnx?signed=1", "//elsewhere/y.onnx")
    with Server({"/zoo/": page(*links)}) as server:
        found = locations.store_of(server.at("zoo")).walk(server.at("zoo/"))
    assert found == [server.at("zoo/in.onnx?signed=1")]


def test_a_listing_without_end_ends() -> None:
    def deeper(request: BaseHTTPRequestHandler) -> None:
        send(request, page("deep/", f"{len(request.path)}.onnx"))

    with Server({}) as server:
        server.routes = _Everything(deeper)
        with pytest.raises(Unreadable, match="lists folders without end"):
            locations.store_of(server.at("")).walk(server.at("zoo/"))


class _Everything(dict[str, Any]):
    def __init__(self, route: Any) -> None:
        super().__init__()
        self.route = route

    def get(self, *_: object) -> Any:
        return self.route


@pytest.mark.parametrize(
    "name", ["../x.onnx", "a/../../x.onnx", "/x.onnx", "..", "a\\..\\..\\x.onnx", "x\0.onnx", ""]
)
def test_no_output_leaves_its_folder(tmp_path: Path, name: str) -> None:
    source = tmp_path / "made"
    source.write_bytes(b"model")
    (tmp_path / "out").mkdir()
    for folder in (str(tmp_path / "out"), "memory://out"):
        with pytest.raises(WriteError, match="leads out of the folder"):
            locations.store_of(folder).deliver(source, folder, name)
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["made", "out"]


def test_no_link_leads_an_output_out(tmp_path: Path) -> None:
    source, out, elsewhere = tmp_path / "made", tmp_path / "out", tmp_path / "elsewhere"
    out.mkdir()
    elsewhere.mkdir()
    (out / "zoo").symlink_to(elsewhere)
    (elsewhere / "back").symlink_to(out)
    (elsewhere / "old.onnx").write_bytes(b"old")
    (out / "net.onnx").symlink_to(elsewhere / "old.onnx")
    for name in ("zoo/net.onnx", "zoo/deep/net.onnx"):
        source.write_bytes(b"model")
        with pytest.raises(WriteError, match="a link leads out of the folder of the outputs"):
            locations.store_of(str(out)).deliver(source, str(out), name)
    locations.store_of(str(out)).deliver(source, str(out), "net.onnx")
    assert (elsewhere / "old.onnx").read_bytes() == b"old"
    assert sorted(path.name for path in elsewhere.iterdir()) == ["back", "old.onnx"]
    (tmp_path / "short").symlink_to(out)  # the folder itself may be a link: its user named it
    source.write_bytes(b"model")
    locations.store_of(str(out)).deliver(source, str(tmp_path / "short"), "b/net.onnx")
    assert (out / "b" / "net.onnx").is_file()


# Downloads.


@pytest.mark.parametrize(
    ("more", "words"), [((), "at most 1,000 more may"), (("--no-verify",), "at most 1,000")]
)
def test_a_file_without_an_end_ends(out: Path, more: tuple[str, ...], words: str) -> None:
    with Server({"/net.onnx": endless}) as server:
        code, _, err = batch(server.at("net.onnx"), "--out", out, "--max-download", 1000, *more)
    assert code == 3
    assert words in err
    assert "--max-download allows more" in err
    assert sorted(path.name for path in out.iterdir()) == ["net.html", "net.result.json"]


def test_all_files_of_a_model_count_together(out: Path) -> None:
    parts = model(CONV_BN_RELU)
    for index, tensor in enumerate(parts.graph.initializer):
        onnx.external_data_helper.set_external_data(tensor, f"{index}.data")
        tensor.ClearField("raw_data")
    routes = {f"/{index}.data": bytes(600) for index in range(len(parts.graph.initializer))}
    with Server({"/net.onnx": parts.SerializeToString(), **routes}) as server:
        code, _, err = batch(server.at("net.onnx"), "--out", out, "--max-download", 3000)
    assert code == 3
    assert "may be downloaded" in err


def test_the_announced_size_is_enough_to_refuse(out: Path) -> None:
    sent = []

    def huge(request: BaseHTTPRequestHandler) -> None:
        sent.append(request.command)
        send(request, b"", announced=10**12)

    with Server({"/net.onnx": huge}) as server:
        code, _, err = batch(server.at("net.onnx"), "--out", out)
    assert code == 3
    assert "has 1,000,000,000,000 bytes" in err
    assert "GET" not in sent


@pytest.mark.parametrize("announced", [len(MODEL) + 5, 2 * len(MODEL)])
def test_a_transfer_that_is_cut(out: Path, announced: int) -> None:
    with Server({"/net.onnx": lambda request: send(request, MODEL, announced=announced)}) as server:
        code, _, err = batch(server.at("net.onnx"), "--out", out)
    assert (code, "internal" in err) == (3, False)
    assert not (out / "net.onnx").exists()


def test_a_transfer_that_is_cut_without_a_word(out: Path) -> None:
    """The answer to the question was right, and what came has no length of its own."""

    def cut(request: BaseHTTPRequestHandler) -> None:
        if request.command == "HEAD":
            send(request, MODEL)
            return
        request.send_response(200)
        request.end_headers()
        request.wfile.write(MODEL[:-7])

    with Server({"/net.onnx": cut}) as server:
        code, _, err = batch(server.at("net.onnx"), "--out", out)
    assert code == 3
    assert "were announced" in err


def test_a_file_that_changes_while_it_is_read(out: Path) -> None:
    versions = itertools.count()

    def swap(request: BaseHTTPRequestHandler) -> None:
        send(request, MODEL, ETag=f'"{next(versions)}"')

    with Server({"/net.onnx": swap}) as server:
        code, _, err = batch(server.at("net.onnx"), "--out", out)
    assert code == 3
    assert "changed while it was read" in err


def test_what_was_folded_is_what_is_recorded(out: Path) -> None:
    """A server that serves another model afterwards: the record does not vouch for that one."""
    server = Server({})
    served: list[bytes] = []

    def swap(request: BaseHTTPRequestHandler) -> None:
        if request.command == "GET":
            served.append(MODEL if not served else model(CONV_BN_RELU, 7).SerializeToString())
        send(request, served[-1] if served else MODEL)

    server.routes["/net.onnx"] = swap
    with server:
        assert batch(server.at("net.onnx"), "--out", out)[0] == 0
        assert batch(server.at("net.onnx"), "--out", out)[2].splitlines()[-1].endswith("passed=1")


# Other hosts.


def test_a_redirect_to_another_host_is_not_followed(out: Path) -> None:
    with Server({"/net.onnx": MODEL}) as other, Server({}) as server:
        server.routes["/net.onnx"] = redirect(other.at("net.onnx"))
        server.routes["/own.onnx"] = redirect("/real.onnx")
        server.routes["/real.onnx"] = MODEL
        code, _, err = batch(server.at("net.onnx"), "--out", out)
        assert code == 3
        assert "is another server (only --follow-redirects allows that)" in err
        assert other.asked == []
        assert batch(server.at("own.onnx"), "--out", out)[0] == 0
        assert batch(server.at("net.onnx"), "--out", out, "--follow-redirects")[0] == 0


@pytest.mark.parametrize(
    ("origin", "target", "follows", "why"),
    [
        ("http://h/a", "http://h/b", False, ""),
        ("http://h/a", "https://h/a", False, ""),
        ("http://h:80/a", "http://H/a", False, ""),
        ("https://h/a", "http://h/a", True, "is not encrypted"),
        ("http://h/a", "http://h:8080/a", False, "is another server"),
        ("http://h/a", "https://h:8443/a", False, "is another server"),
        ("https://h/a", "https://g/a", False, "is another server"),
        ("https://h/a", "file:///etc/passwd", True, "is no web address"),
        ("https://h/a", "ftp://h/a", True, "is no web address"),
        ("https://h/a", "s3://h/a", True, "is no web address"),
        ("http://h/a", "http://h:x/a", False, "is another server"),
        ("http://93.184.215.14/a", "http://127.0.0.1/a", True, "is in the local network"),
        ("http://93.184.215.14/a", "http://169.254.169.254/latest", True, "is in the local network"),
        ("http://93.184.215.14/a", "http://[::1]/a", True, "is in the local network"),
        ("http://93.184.215.14/a", "http://[::ffff:10.0.0.1]/a", True, "is in the local network"),
        ("http://93.184.215.14/a", "http://8.8.8.8/a", True, ""),
        ("http://10.0.0.1/a", "http://10.0.0.2/a", True, ""),
    ],
)
def test_who_may_lead_where(origin: str, target: str, follows: bool, why: str) -> None:
    found = refused(origin, target, follows)
    assert found.startswith(why)
    assert bool(found) == bool(why)


@pytest.mark.parametrize(
    ("manifest", "place", "why"),
    [
        ("zoo.toml", "/etc/net.onnx", ""),
        ("zoo.toml", "http://anywhere/net.onnx", ""),
        ("http://h/zoo.toml", "http://h/deep/net.onnx", ""),
        ("http://h/zoo.toml", "/etc/net.onnx", "is a place on this machine"),
        ("http://h/zoo.toml", "s3://mine/net.onnx", "is no web address"),
        ("https://h/zoo.toml", "http://h/net.onnx", "is not encrypted"),
        ("http://h/zoo.toml", "http://localhost/net.onnx", "is another server"),
        ("s3://b/zoo.toml", "s3://b/net.onnx", ""),
        ("s3://b/zoo.toml", "s3://mine/net.onnx", "is in another store"),
        ("s3://b/zoo.toml", "memory://b/net.onnx", "is in another store"),
    ],
)
def test_what_a_manifest_may_name(manifest: str, place: str, why: str) -> None:
    found = misnamed(manifest, place, other_hosts=False)
    assert found.startswith(why)
    assert bool(found) == bool(why)


@pytest.mark.parametrize(
    "line",
    [
        'model = "/etc/net.onnx"',
        'model = "file:///etc/net.onnx"',
        'model = "http://localhost:1/net.onnx"',
        'model = "net.onnx"\nweights = "/etc/passwd"',
        'model = "net.onnx"\ninputs = "data:/etc/passwd"',
        'model = "net.onnx"\nname = "../../pwn"',
        'model = "net.onnx"\nname = "..\\\\..\\\\pwn"',
        'model = "net.onnx"\nname = "/tmp/pwn"',
        'model = "net.onnx"\nname = ".ssh/pwn"',
        'model = "net.onnx"\nname = "a:b/pwn"',
        'model = "net.onnx"\nmax-download = "1 TB"',
        'model = "net.onnx"\nfollow-redirects = true',
    ],
)
def test_a_manifest_from_a_server_that_wants_too_much(out: Path, line: str) -> None:
    with Server({"/m.toml": f"[[model]]\n{line}\n".encode(), "/net.onnx": MODEL}) as server:
        code, _, err = batch(server.at("m.toml"), "--out", out)
    assert code == 3
    assert "m.toml:" in err
    assert outside(out) == []


def test_external_data_is_asked_for_by_its_name(out: Path) -> None:
    """No sign of a name that a model gives is an escape in the address."""
    parts = model(CONV_BN_RELU)
    tensor = parts.graph.initializer[0]
    data = tensor.raw_data
    onnx.external_data_helper.set_external_data(tensor, "%2e%2e/a b?c#d.data")
    tensor.ClearField("raw_data")
    with Server({"/zoo/net.onnx": parts.SerializeToString()}) as server:
        server.routes["/zoo/%252e%252e/a%20b%3Fc%23d.data"] = data
        code, _, err = batch(server.at("zoo/net.onnx"), "--out", out)
    assert code == 0, err


def test_external_data_does_not_replace_the_model(out: Path) -> None:
    parts = model(CONV_BN_RELU)
    onnx.external_data_helper.set_external_data(parts.graph.initializer[0], "net.onnx")
    parts.graph.initializer[0].ClearField("raw_data")
    long = model(CONV_BN_RELU)
    onnx.external_data_helper.set_external_data(long.graph.initializer[0], "x" * 300)
    long.graph.initializer[0].ClearField("raw_data")
    routes = {"/net.onnx": parts.SerializeToString(), "/long.onnx": long.SerializeToString()}
    with Server({**routes, "/" + "x" * 300: bytes(9)}) as server:
        codes = [batch(server.at(name), "--out", out)[0] for name in ("net.onnx", "long.onnx")]
    assert codes == [3, 3]
    assert list(out.glob("*.onnx")) == []


@pytest.mark.parametrize("url", ["file:///x.onnx", "simplecache::http://h/x.onnx", "github://a:b@/x.onnx"])
def test_schemes_come_from_a_list(url: str) -> None:
    with pytest.raises(UsageError, match="has the scheme"):
        locations.store_of(url).exists(url)


def test_the_default_leaves_room_on_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert Downloads(5).room(tmp_path) == 5
    monkeypatch.setattr("shutil.disk_usage", lambda _: _Usage())
    assert Downloads().room(tmp_path) == 900
    with downloads.under(Downloads(7)):
        assert downloads.rules().most == 7
    assert downloads.rules() == Downloads()


class _Usage:
    free = 1000
