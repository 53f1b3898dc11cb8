"""The command line as a process of its own: start-up, streams that are closed or full, terminals, signals."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from ..models import CONV_BN_RELU, TWO_BLOCKS, saved

ROOT = Path(__file__).resolve().parents[2]


def names(folder: Path) -> set[str]:
    return {p.name for p in folder.iterdir()}


def process(*arguments: object, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "bnfold", *map(str, arguments)],
        capture_output=True,
        text=True,
        cwd=ROOT,
        timeout=120,
        env={**os.environ, **environment},
        check=False,
    )


def test_help_and_version_import_nothing_heavy() -> None:
    script = (
        "import sys; from bnfold.cli.main import run; code = run(['--help']); "
        "assert code == 0; print(sorted(m for m in ('numpy', 'onnx', 'onnx_ir', 'onnxruntime', "
        "'rich', 'logging', 'email', 'jinja2', 'bnfold.results.options') if m in sys.modules), "
        "sum(m.startswith('bnfold') for m in sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, cwd=ROOT, timeout=60, check=True
    )
    heavy, count = done.stdout.splitlines()[-1].rsplit(" ", 1)
    assert heavy == "[]"
    assert int(count) <= 16  # each costs time at every start
    assert re.fullmatch(r"bnfold \d+\.\d+\.\d+\n", process("--version").stdout)


def test_a_fold_imports_what_it_uses(tmp_path: Path) -> None:
    """Counted in modules, because time is another on every machine: none for reports, terminals, other formats,
    policies or verification, where nothing asks for them."""
    script = (
        "import sys; from bnfold.cli.main import run; code = run(sys.argv[1:]); assert code == 0; "
        "print(sorted(m for m in sys.modules if m in ('rich', 'jinja2', 'onnxruntime', 'sympy', 'tomllib', "
        "'statistics') or m.startswith(('bnfold.verifying', 'bnfold.reading.caffe', 'bnfold.reading.darknet', "
        "'bnfold.gate.', 'bnfold.reporting.html')))); print(sum(m.startswith('bnfold') for m in sys.modules))"
    )
    model = saved(tmp_path, TWO_BLOCKS)
    call = [
        sys.executable,
        "-c",
        script,
        "fold",
        str(model),
        "-o",
        str(tmp_path / "out.onnx"),
        "-q",
        "--no-verify",
    ]
    done = subprocess.run(call, capture_output=True, text=True, cwd=tmp_path, timeout=60, check=True)
    heavy, count = done.stdout.splitlines()[-2:]
    assert heavy == "['bnfold.gate.places', 'sympy']"  # sympy's execution is put off: ir/lazy_sympy.py
    assert int(count) <= 130


def test_a_package_that_is_not_there_is_no_internal_error(tmp_path: Path) -> None:
    script = (
        "import sys; sys.modules['onnx_ir'] = None; from bnfold.cli.main import run; "
        "sys.exit(run(sys.argv[1:]))"
    )
    call = [sys.executable, "-c", script, "inspect", str(saved(tmp_path, TWO_BLOCKS))]
    done = subprocess.run(call, capture_output=True, text=True, cwd=ROOT, timeout=60, check=False)
    assert done.returncode == 4
    assert "ERROR code=4 the Python package 'onnx_ir' is not installed" in done.stderr


def test_import_is_light_and_gives_the_public_names() -> None:
    script = (
        "import sys, bnfold; assert not {'numpy', 'onnx', 'onnx_ir', 'click'} & set(sys.modules); "
        "assert all(callable(getattr(bnfold, name)) for name in bnfold.__all__)"
    )
    subprocess.run([sys.executable, "-c", script], cwd=ROOT, timeout=60, check=True)


def test_without_a_terminal_lines_fit_and_carry_no_codes(tmp_path: Path) -> None:
    done = process("inspect", saved(tmp_path, TWO_BLOCKS), "-v", PYTHONIOENCODING="utf-8")
    assert done.returncode == 0
    assert "\x1b" not in done.stdout + done.stderr
    assert max(len(line) for line in done.stdout.splitlines() if str(tmp_path) not in line) <= 80


def test_a_terminal_that_knows_only_ascii(tmp_path: Path) -> None:
    done = process("inspect", saved(tmp_path), PYTHONIOENCODING="ascii", LC_ALL="C")
    assert done.returncode == 0, done.stderr


def test_a_reader_that_leaves_early_is_no_error(tmp_path: Path) -> None:
    path = saved(tmp_path)
    done = subprocess.run(
        f"{sys.executable} -m bnfold inspect {path} -v | head -n 0",
        shell=True,
        capture_output=True,
        text=True,
        cwd=ROOT,
        timeout=60,
        check=False,
    )
    assert done.stderr.strip().splitlines()[-1].startswith("bnfold: PASS")


def shell(line: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        f"{sys.executable} -m bnfold {line}",
        shell=True,
        capture_output=True,
        text=True,
        cwd=ROOT,
        timeout=60,
        check=False,
    )


def test_closed_streams_are_no_error(tmp_path: Path) -> None:
    path = saved(tmp_path)
    done = shell(f"fold {path} >&-")
    assert done.returncode == 0
    assert done.stderr.splitlines()[-1].startswith("bnfold: PASS")
    assert shell(f"fold {path} 2>&-").returncode == 0


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
def test_a_full_standard_output_is_said(tmp_path: Path) -> None:
    done = shell(f"inspect {saved(tmp_path)} > /dev/full")
    assert done.returncode == 3
    assert done.stderr.splitlines() == [
        "bnfold: ERROR code=3 standard output: cannot be written (no space left on device)"
    ]


def test_no_command_shows_the_commands() -> None:
    done = process()
    assert done.returncode == 2
    assert "selftest" in done.stderr
    assert done.stderr.splitlines()[-1] == "bnfold: ERROR code=2 no command is given"


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupt_leaves_nothing_behind(tmp_path: Path, number: int, code: int) -> None:
    """Interrupted while it holds a finished temporary file: verification is replaced by a long sleep."""
    path = saved(tmp_path, CONV_BN_RELU)
    script = (
        "import sys, time\nfrom bnfold import verifying\nfrom bnfold.cli.main import run\n"
        "def compare(*_): print('there', flush=True); time.sleep(60)\n"
        "verifying.compare = compare\nsys.exit(run(sys.argv[1:]))"
    )
    child = subprocess.Popen(
        [sys.executable, "-c", script, "fold", str(path)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    )
    assert child.stdout is not None
    assert child.stdout.readline() == "there\n"
    assert len(names(tmp_path)) == 2
    time.sleep(0.05)
    child.send_signal(number)
    _, err = child.communicate(timeout=30)
    assert child.returncode == code
    assert err.strip().splitlines()[-1].startswith(f"bnfold: ERROR code={code} interrupted")
    assert names(tmp_path) == {"net.onnx"}
