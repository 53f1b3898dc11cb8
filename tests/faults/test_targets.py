"""Targets that cannot be written, or are no files: refused before the work, with what is there as it was;
links are written through."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

import bnfold as api

from .running import COMMAND, Disk, Ended, bnfold, contents, digits, sentence, started

OLD = b"the old one"
NOBODY = 65534


def bound(*arguments: object) -> Ended:
    """A run that permissions bind: root keeps its name, and loses the right to pass them by."""
    if os.geteuid():
        return bnfold(*arguments)
    if shutil.which("setpriv") is None:
        pytest.skip("permissions do not bind root, and there is no setpriv to change that")
    return bnfold(*arguments, command=("setpriv", "--bounding-set=-all", "--inh-caps=-all", *COMMAND))


@pytest.mark.parametrize("more", [(), ("--external-data",)], ids=str)
def test_a_folder_that_is_read_only(tmp_path: Path, more: tuple[str, ...]) -> None:
    source = digits(tmp_path)
    tmp_path.chmod(0o555)
    run = bound("fold", source, *more)
    tmp_path.chmod(0o755)
    assert "net.folded.onnx: cannot be written (permission denied)" in sentence(run, 3)
    assert contents(tmp_path).keys() == {"net.onnx"}


@pytest.mark.parametrize("flag", ["-o", "--json", "--report", "--certificate"])
def test_a_file_that_is_read_only(tmp_path: Path, flag: str) -> None:
    """Its folder would let it be replaced; whoever took the permission to write away meant it."""
    source = digits(tmp_path)
    old = tmp_path / ("old.onnx" if flag == "-o" else "old.json")
    old.write_bytes(OLD)
    old.chmod(0o444)
    run = bound("fold", source, flag, old, *([] if flag == "-o" else ["-o", tmp_path / "out.onnx"]))
    assert f"{old.name}: cannot be written (it is read-only)" in sentence(run, 3)
    assert contents(tmp_path).keys() == {"net.onnx", old.name}
    assert old.read_bytes() == OLD


@pytest.mark.parametrize("flag", ["-o", "--json"])
def test_a_file_system_that_is_read_only(tmp_path: Path, disk: Disk, flag: str) -> None:
    (disk.before / "old.json").write_bytes(OLD)
    target = disk.place / ("new.onnx" if flag == "-o" else "old.json")
    run = disk.bnfold(
        "fold",
        digits(tmp_path),
        flag,
        target,
        *([] if flag == "-o" else ["-o", tmp_path / "out.onnx"]),
        mode="ro",
    )
    assert "read-only" in sentence(run, 3)
    assert contents(disk.after) == {"old.json": OLD}


def test_a_file_that_another_file_is_mounted_on(tmp_path: Path, disk: Disk) -> None:
    """As containers get single files. It cannot be replaced in one step, so it is not replaced."""
    source = digits(tmp_path)
    (disk.before / "inside").write_bytes(OLD)
    mounted = f'mount --bind "{disk.place}/inside" "{tmp_path}/out.onnx" || exit 99; exec "$@"'
    (tmp_path / "out.onnx").write_bytes(b"below")
    process = started(
        "fold",
        source,
        "-o",
        tmp_path / "out.onnx",
        "--external-data",
        command=disk.command(("sh", "-c", mounted, "sh", *COMMAND)),
    )
    out, err = process.communicate(timeout=60)
    assert "out.onnx: cannot be written (device or resource busy)" in sentence(
        Ended(process.returncode, out.decode(), err.decode()), 3
    )
    assert contents(disk.after) == {"inside": OLD}
    assert contents(tmp_path).keys() == {"net.onnx", "out.onnx"}


@pytest.mark.parametrize("there", [False, True], ids=["fresh data", "data of the old model"])
def test_a_target_that_may_be_written_and_not_replaced(tmp_path: Path, there: bool) -> None:
    """Another user's file in a folder like /tmp: the data is in place when the model's rename fails, and is
    taken back if it is new."""
    if os.geteuid():
        pytest.skip("only root can make another user's file")
    source, shelf = digits(tmp_path), tmp_path / "shelf"
    shelf.mkdir()
    if there:
        api.fold_file(source, out=shelf / "out.onnx", external_data=True)
    else:
        (shelf / "out.onnx").write_bytes(OLD)
    (shelf / "out.onnx").chmod(0o666)
    for path, mode in ((shelf / "out.onnx", 0o666), (shelf, 0o1777)):
        os.chown(path, NOBODY, NOBODY)
        path.chmod(mode)
    before = contents(shelf)
    run = bound("fold", source, "-o", shelf / "out.onnx", "--external-data")
    assert "out.onnx: cannot be written (operation not permitted)" in sentence(run, 3)
    assert contents(shelf) == before


def pipe(path: Path) -> None:
    os.mkfifo(path)


def dangling_into_nowhere(path: Path) -> None:
    path.symlink_to(path.parent / "none" / "x")


def circle(path: Path) -> None:
    path.symlink_to(path)


def device(path: Path) -> None:
    path.symlink_to("/dev/null")


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (Path.mkdir, "is a folder"),
        (pipe, "is not a regular file"),
        (device, "is not a regular file"),
        (dangling_into_nowhere, "the folder does not exist"),
        (circle, "too many levels of symbolic links"),
    ],
)
@pytest.mark.parametrize(
    "door", [api.save, lambda model, path: api.fold_file(model, out=path)], ids=["save", "fold_file"]
)
def test_what_is_no_file(
    tmp_path: Path, make: Callable[[Path], None], words: str, door: Callable[[object, Path], object]
) -> None:
    make(tmp_path / "out.onnx")
    before = {file: file.lstat().st_mode for file in tmp_path.iterdir()}
    with pytest.raises(api.WriteError, match=words):
        door(digits(tmp_path), tmp_path / "out.onnx")
    (tmp_path / "net.onnx").unlink()
    assert {file: file.lstat().st_mode for file in tmp_path.iterdir()} == before


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("none/out.onnx", "the folder does not exist"),
        ("net.onnx/out.onnx", "the folder does not exist"),
        ("x" * 251 + ".onnx", "file name too long"),
        ("d/" * 2100 + "out.onnx", "file name too long"),
        ("a\0b.onnx", "null byte"),
    ],
)
def test_names_that_cannot_be(tmp_path: Path, name: str, words: str) -> None:
    source = digits(tmp_path)
    with pytest.raises(api.WriteError, match=words):
        api.fold_file(source, out=tmp_path / name)
    assert contents(tmp_path).keys() == {"net.onnx"}


@pytest.mark.parametrize("flag", ["-o", "--json", "--report", "--certificate"])
def test_the_command_line_finds_it_before_the_work(tmp_path: Path, flag: str) -> None:
    """The source is no model: a run that came to read it would say so."""
    folder = tmp_path / ("folder.onnx" if flag == "-o" else "folder.json")
    folder.mkdir()
    (tmp_path / "net.onnx").write_bytes(b"\x08\x09 no model")
    run = bnfold(
        "fold", tmp_path / "net.onnx", flag, folder, *([] if flag == "-o" else ["-o", tmp_path / "out.onnx"])
    )
    assert f"{folder.name}: is a folder" in sentence(run, 3)
    assert contents(tmp_path).keys() == {"net.onnx", folder.name}


@pytest.mark.parametrize("external", [False, True])
def test_a_link_is_written_through(tmp_path: Path, external: bool) -> None:
    """Data lies beside the file, where the model that names it is, and not beside the link."""
    (tmp_path / "real").mkdir()
    real, link = tmp_path / "real" / "model.onnx", tmp_path / "link.onnx"
    link.symlink_to(real)
    for _ in ("dangling", "pointing"):
        api.save(digits(tmp_path), link, external_data=external)
        assert link.is_symlink()
        assert stat.S_ISREG(real.lstat().st_mode)
        assert contents(tmp_path).keys() == {
            "net.onnx",
            "link.onnx",
            "real",
            *(f"real/{f.name}" for f in real.parent.iterdir()),
        }
    assert len(list(real.parent.iterdir())) == 1 + external


def test_a_hard_link_keeps_the_old_file(tmp_path: Path) -> None:
    source = digits(tmp_path)
    (tmp_path / "other.onnx").hardlink_to(source)
    before = source.read_bytes()
    api.fold_file(source, out=tmp_path / "other.onnx")
    assert source.read_bytes() == before
    assert (tmp_path / "other.onnx").read_bytes() != before


@pytest.mark.parametrize("flag", ["--json", "--report"])
def test_a_report_may_go_into_a_pipe(tmp_path: Path, flag: str) -> None:
    pipe(tmp_path / "pipe")
    reader = subprocess.Popen(["cat", tmp_path / "pipe"], stdout=subprocess.PIPE)
    run = bnfold("inspect", digits(tmp_path), flag, tmp_path / "pipe")
    assert run.code == 0, run.err
    assert b"BatchNormalization" in reader.communicate(timeout=30)[0]
    assert stat.S_ISFIFO((tmp_path / "pipe").stat().st_mode)


@pytest.mark.parametrize(("mask", "mode"), [(0o022, 0o644), (0o077, 0o600), (0o000, 0o666)])
def test_a_new_file_has_the_permissions_of_new_files(tmp_path: Path, mask: int, mode: int) -> None:
    old = os.umask(mask)
    try:
        api.save(digits(tmp_path), tmp_path / "out.onnx", external_data=True)
    finally:
        os.umask(old)
    written = [tmp_path / "out.onnx", *tmp_path.glob("*.data")]
    assert [stat.S_IMODE(file.stat().st_mode) for file in written] == [mode, mode]


@pytest.mark.parametrize("mode", [0o600, 0o664, 0o777])
def test_a_file_that_is_replaced_keeps_its_permissions(tmp_path: Path, mode: int) -> None:
    (tmp_path / "out.onnx").write_bytes(OLD)
    (tmp_path / "out.onnx").chmod(mode)
    api.save(digits(tmp_path), tmp_path / "out.onnx", external_data=True)
    assert {
        stat.S_IMODE(file.stat().st_mode) for file in (tmp_path / "out.onnx", *tmp_path.glob("*.data"))
    } == {mode}


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
def test_a_file_that_is_replaced_keeps_its_owner(tmp_path: Path) -> None:
    (tmp_path / "out.onnx").write_bytes(OLD)
    os.chown(tmp_path / "out.onnx", NOBODY, NOBODY)
    api.save(digits(tmp_path), tmp_path / "out.onnx")
    assert ((tmp_path / "out.onnx").stat().st_uid, (tmp_path / "out.onnx").stat().st_gid) == (NOBODY, NOBODY)


def test_a_group_that_cannot_be_kept_gets_no_new_rights(tmp_path: Path) -> None:
    """Another user's file in a folder for all: what was open to its group is not open to the writer's."""
    if os.geteuid():
        pytest.skip("only root can make another user's file")
    source = digits(tmp_path)
    out = tmp_path / "out.onnx"
    out.write_bytes(OLD)
    out.chmod(0o662)
    os.chown(out, NOBODY, NOBODY)
    run = bound("fold", source, "-o", out, "-q")
    assert run.code == 0, run.err
    assert stat.S_IMODE(out.stat().st_mode) == 0o622


def test_a_source_that_may_not_be_read(tmp_path: Path) -> None:
    source = digits(tmp_path)
    source.chmod(0)
    assert "net.onnx: cannot be read (permission denied)" in sentence(bound("fold", source), 3)
