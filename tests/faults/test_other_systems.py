"""Rules of Windows and macOS, tested where neither is: the tables of names, and a run without anything that
only POSIX has."""

from __future__ import annotations

import sys
from pathlib import Path, PureWindowsPath

import pytest

from bnfold.errors import WriteError
from bnfold.files import names
from bnfold.files.atomic import place

from .running import SAMPLES, python


@pytest.mark.parametrize(
    "name",
    [
        "CON",
        "nul",
        "Aux.onnx",
        "PRN.tar.gz",
        "COM1",
        "lpt9.onnx",
        "COM\u00b9.onnx",
        "CONIN$",
        "conout$.onnx",
        "NUL .onnx",
        "nul.",
        "net:onnx",
        "net.onnx:stream",
        "a<b",
        "a>b",
        'a"b',
        "a|b",
        "a?b",
        "a*b",
        "a/b",
        "a\\b",
        "a\nb",
        "a\x00b",
        "a\x1fb",
        "net.",
        "net ",
        "...",
    ],
)
def test_names_that_windows_cannot_have(name: str) -> None:
    assert names.refused(name, "win32")
    assert not names.refused(name, "linux")
    assert not names.refused(name, "darwin")


@pytest.mark.parametrize(
    "name",
    [
        "net.onnx",
        "CONV.onnx",
        "COM10.onnx",
        "COM.onnx",
        "nul_.onnx",
        "auxiliary",
        ".hidden",
        " net",
        "é模型.onnx",
        "a;b=c,d'e`f~g!h@i#j$k%l^m&n(o)p+q[r]{s}",
    ],
)
def test_names_that_windows_can_have(name: str) -> None:
    assert not names.refused(name, "win32")


@pytest.mark.parametrize("system", ["win32", "linux", "darwin"])
@pytest.mark.parametrize("name", ["", ".", ".."])
def test_what_is_no_name_anywhere(name: str, system: str) -> None:
    assert names.refused(name, system)


def test_a_target_is_held_against_the_rules_of_the_system(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = names.refused
    monkeypatch.setattr(names, "refused", lambda name: real(name, "win32"))
    with pytest.raises(WriteError, match=r"'nul\.onnx' is a device of Windows.*choose another name"):
        place(tmp_path / "nul.onnx")


LONG = "x" * 120


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        (r"C:\models\net.onnx", r"C:\models\net.onnx"),
        (rf"C:\{LONG}\{LONG}\net.onnx", rf"\\?\C:\{LONG}\{LONG}\net.onnx"),
        (rf"\\server\share\{LONG}\{LONG}\net.onnx", rf"\\?\UNC\server\share\{LONG}\{LONG}\net.onnx"),
        (rf"\\?\C:\{LONG}\{LONG}\net.onnx", rf"\\?\C:\{LONG}\{LONG}\net.onnx"),
        (
            rf"C:\{LONG}\{'y' * 40}\net.onnx",
            rf"\\?\C:\{LONG}\{'y' * 40}\net.onnx",
        ),  # short itself; a stage beside it is not
    ],
)
def test_long_paths_of_windows(given: str, wanted: str) -> None:
    path = PureWindowsPath(given)
    assert names.extended(path, "win32") == PureWindowsPath(wanted)
    assert names.extended(path, "linux") is path


@pytest.mark.parametrize(
    ("one", "other", "systems"),
    [
        ("net.onnx", "NET.ONNX", {"win32", "darwin"}),
        ("straße", "STRASSE", {"win32", "darwin"}),
        ("n\u00e9t", "ne\u0301t", {"darwin"}),
        ("N\u00c9T", "ne\u0301t", {"darwin"}),
        ("net", "net", {"win32", "darwin", "linux"}),
        ("net", "nets", set()),
    ],
)
def test_names_that_mean_one_file(one: str, other: str, systems: set[str]) -> None:
    found = {s for s in ("win32", "darwin", "linux") if names.same_name(one, s) == names.same_name(other, s)}
    assert found == systems


@pytest.mark.parametrize(
    ("stem", "portable"),
    [
        ("net", "net"),
        ("my net-v1.2_final(3)", "my net-v1.2_final(3)"),
        ("modèle 模型", "modèle 模型"),
        ('a/b\\c:d*e?f"g<h>i|j', "a_b_c_d_e_f_g_h_i_j"),
        ("a\nb\x1bc", "a_b_c"),
        (" net ", "net"),
        ("", "model"),
        ("   ", "model"),
        ("x" * 240, "x" * 200),
        ("模" * 80, "模" * 66),
        ("a\udcffb", "a_b"),
    ],
)
def test_names_of_data_files(stem: str, portable: str) -> None:
    found = names.portable(stem)
    assert found == portable
    assert not names.refused(f"{found}.0123456789abcdef.data", "win32")
    assert len(found.encode()) <= 200


# All that only POSIX has is taken away when the libraries of others are loaded; then every module is
# imported, and two models are written.
WITHOUT_POSIX = """
import concurrent.futures.process, importlib, multiprocessing, os, pkgutil, signal, socket, subprocess, sys
import aiohttp, click, jinja2, numpy, onnx, onnx_ir, onnxruntime, rich.console, rich.status
import bnfold
for name in ("fcntl", "resource", "pwd", "grp", "termios"):
    sys.modules[name] = None
for name in ("fork", "chown", "copy_file_range", "sendfile", "posix_fallocate", "posix_fadvise", "pread", "preadv", "pwrite", "geteuid",
             "getuid", "getppid", "killpg", "setsid", "mkfifo", "sched_getaffinity", "statvfs", "O_DIRECTORY", "O_NOFOLLOW", "O_NONBLOCK"):
    if hasattr(os, name):
        delattr(os, name)
for name in ("SIGHUP", "SIGKILL", "SIGCHLD", "SIGALRM", "pthread_sigmask", "sigwaitinfo"):
    if hasattr(signal, name):
        delattr(signal, name)
sys.platform = "win32"
source, folder = sys.argv[1:]
for module in pkgutil.walk_packages(bnfold.__path__, "bnfold."):
    if not module.name.endswith("__main__"):
        importlib.import_module(module.name)
from bnfold.cli.process import _clean, _work
from bnfold.files.supervision import guarded
os.chdir(folder)
for options in ([], ["--external-data"], ["--no-verify", "--json", "r.json", "--certificate", "c.json"]):
    sys.argv[1:] = ["fold", source, "-o", "out.onnx", "-q", *options]
    assert guarded(_work, _clean) == 0
print("all there")
"""


@pytest.mark.slow
def test_a_run_without_what_only_posix_has(tmp_path: Path) -> None:
    run = python(WITHOUT_POSIX, SAMPLES / "digits.onnx", tmp_path)
    assert run.code == 0, run.err
    assert run.out == "all there\n"
    assert len(list(tmp_path.iterdir())) == 4


@pytest.mark.skipif(sys.platform != "linux", reason="what is seen on Linux alone")
def test_the_stand_in_takes_away_what_there_is() -> None:
    """Or the test above would test nothing."""
    import fcntl
    import os
    import resource

    assert all((fcntl.flock, resource.setrlimit, os.fork, os.copy_file_range))
