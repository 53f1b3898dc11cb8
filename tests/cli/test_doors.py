"""What people type first: slips, models without a command, networks without weights, options kept in a file, the
help, the completion of their shell."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import click
import onnx
import pytest

from bnfold.cli.help import GROUPS, Command, GroupedOption
from bnfold.cli.main import COMMANDS, group

from ..models import CONV_BN_RELU, TWO_BLOCKS, saved
from .conftest import Ran

ROOT = Path(__file__).resolve().parents[2]
SAMPLES = ROOT / "samples"


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    saved(tmp_path, CONV_BN_RELU)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (["flod", "net.onnx"], "no command 'flod'; expected one of fold, "),
        (["flod", "net.onnx"], "did you mean 'bnfold fold net.onnx'?"),
        (["verfy"], "did you mean 'bnfold verify'?"),
        (["xyzzy"], "no command 'xyzzy'"),
        (["net.onnx"], "to fold it: bnfold fold net.onnx"),
        (["net.cfg", "net.weights"], "to fold it: bnfold fold net.cfg net.weights"),
        (["my net.onnx"], "to fold it: bnfold fold 'my net.onnx'"),
        (["https://example.org/n.onnx"], "bnfold batch https://example.org/n.onnx -o folded"),
        (["verify", "net.onnx"], "as in 'bnfold verify net.onnx net.folded.onnx'"),
        (["verify", "a.cfg", "a.weights"], "as in 'bnfold verify a.cfg a.weights a.folded.onnx'"),
        (["help"], "help is printed by 'bnfold --help'"),
        (["help", "fold"], "help is printed by 'bnfold fold --help'"),
        (["."], "to fold every model in it: bnfold batch . -o folded"),
        (["fold", "net.onnx", "-o", "out.onnx.gz"], "as in -o out.onnx"),
        (["verify", "net.onnx", "a.onnx", "b.onnx"], "unexpected argument a.onnx"),
        (["verify"], "Missing argument 'REFERENCE [WEIGHTS] CANDIDATE'"),
        (["inspect", "net.onnx", "out.onnx"], "unexpected argument out.onnx"),
    ],
)
def test_a_slip_is_answered_with_the_line_to_type(
    bnfold: Callable[..., Ran], here: Path, line: list[str], words: str
) -> None:
    done = bnfold(*line)
    assert done.code == 2
    assert words in done.last


def test_a_pattern_is_for_a_batch(bnfold: Callable[..., Ran], here: Path) -> None:
    assert "bnfold batch '*.onnx' --out FOLDER" in bnfold("fold", "*.onnx").last


def test_what_was_written_is_named_as_a_user_would(bnfold: Callable[..., Ran], here: Path) -> None:
    assert "written: net.folded.onnx" in bnfold("fold", "net.onnx").out


def test_a_file_of_nearly_that_name(bnfold: Callable[..., Ran], here: Path) -> None:
    done = bnfold("fold", "nte.onnx")
    assert done.code == 3
    assert "nte.onnx: cannot be read (no such file or directory); did you mean 'net.onnx'?" in done.last


@pytest.mark.parametrize("network", ["digits.prototxt", "digits.cfg"])
@pytest.mark.parametrize("command", [["fold"], ["inspect"], ["convert", "-o", "out.onnx"]])
def test_weights_are_found_beside_their_network(
    bnfold: Callable[..., Ran], here: Path, command: list[str], network: str
) -> None:
    for file in SAMPLES.glob("digits.*"):
        shutil.copy(file, here)
    assert bnfold(*command, network).code == 0


def test_a_certificate_names_weights_that_were_found(bnfold: Callable[..., Ran], here: Path) -> None:
    for name in ("digits.prototxt", "digits.caffemodel"):
        shutil.copy(SAMPLES / name, here)
    assert bnfold("fold", "digits.prototxt", "-o", "d.onnx", "--certificate", "d.cert.json").code == 0
    sources = json.loads(Path("d.cert.json").read_text())["sources"]
    assert [entry["path"] for entry in sources] == ["digits.prototxt", "digits.caffemodel"]
    done = bnfold("audit", "d.cert.json", "d.onnx")
    assert done.code == 0 and "derived again" in done.out


@pytest.mark.parametrize("command", ["fold", "convert"])
def test_a_source_that_is_replaced_is_said(bnfold: Callable[..., Ran], here: Path, command: str) -> None:
    done = bnfold(command, "net.onnx", "-o", "net.onnx")
    assert done.code == 0
    assert "warning: net.onnx was the source, and the new model has replaced it" in done.err
    assert done.last.endswith(" in_place=yes")


def test_a_project_keeps_options_of_fold(bnfold: Callable[..., Ran], here: Path) -> None:
    Path("bnfold.toml").write_text(
        'max-size = "1 MB"\n[fold]\nkeep = ["*"]\nheads = "raw"\nno-verify = true\n'
    )
    done = bnfold("fold", "net.onnx", "-v")
    assert done.code == 0 and "kept=1" in done.last
    assert "note: bnfold.toml gives --keep, --no-verify" in done.err  # --heads is for darknet
    assert bnfold("fold", "net.onnx", "--keep", "other").last.startswith("bnfold: PASS folded=1")
    assert bnfold("check", "net.folded.onnx").code == 0


@pytest.mark.parametrize("page", ["README.md", "docs/ci.md"])
def test_options_that_pages_show_are_right(bnfold: Callable[..., Ran], here: Path, page: str) -> None:
    shown = re.findall(r"```toml\n(\[fold\].*?)```", (ROOT / page).read_text(), re.S)
    (text,) = shown
    Path("bnfold.toml").write_text(re.sub(r"data:[\d,]+", "1,3,8,8", text))
    assert bnfold("fold", "net.onnx").code == 0


def test_options_of_a_pyproject(bnfold: Callable[..., Ran], here: Path) -> None:
    Path("pyproject.toml").write_text("[tool.bnfold.fold]\nsamples = 0\n")
    done = bnfold("fold", "net.onnx")
    assert done.code == 3
    assert "pyproject.toml:2: 'samples' cannot be 0; expected a whole number from 1" in done.last


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (
            "[fold]\nsample = 1\n",
            "bnfold.toml:2: unknown key 'sample'; expected an option of 'bnfold fold --help'",
        ),
        ("fold = 3\n", "bnfold.toml:1: 'fold' is no table"),
    ],
)
def test_wrong_options_in_a_file(bnfold: Callable[..., Ran], here: Path, text: str, words: str) -> None:
    Path("bnfold.toml").write_text(text)
    done = bnfold("fold", "net.onnx")
    assert done.code == 3 and words in done.last


@pytest.mark.parametrize("name", COMMANDS)
def test_help_has_examples_and_groups(bnfold: Callable[..., Ran], name: str) -> None:
    done = bnfold(name, "--help")
    assert done.code == 0
    assert f"  bnfold {name}" in done.out
    assert max(map(len, done.out.splitlines())) <= 100
    command = group.get_command(click.Context(group), name)
    assert isinstance(command, Command) and command.examples
    assert all(
        isinstance(p, GroupedOption) and p.group in GROUPS
        for p in command.params
        if isinstance(p, click.Option)
    )


@pytest.mark.parametrize(
    ("shell", "place"),
    [
        ("bash", ".local/share/bash-completion/completions/bnfold"),
        ("zsh", ".zfunc/_bnfold"),
        ("fish", ".config/fish/completions/bnfold.fish"),
    ],
)
def test_completion_is_installed_by_one_command(
    bnfold: Callable[..., Ran], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, shell: str, place: str
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("XDG_DATA_HOME", raising=False)
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
    for _ in range(2):
        done = bnfold("completion", shell, "--install")
        assert (done.code, done.last) == (0, f"bnfold: PASS written={tmp_path / place}")
    assert (tmp_path / place).read_text().strip() == bnfold("completion", shell).out.strip()
    if shell == "zsh":
        assert (tmp_path / ".zshrc").read_text().count("~/.zfunc") == 1


def test_the_shell_is_found(bnfold: Callable[..., Ran], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHELL", "/usr/bin/fish")
    assert "complete" in bnfold("completion").out
    monkeypatch.setenv("SHELL", "/bin/tcsh")
    assert "no completion for the shell 'tcsh'; expected one of bash, zsh, fish" in bnfold("completion").last


@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("bnfold fold --no-", "plain,--no-verify"),
        ("bnfold fold --heads b", "plain,boxes"),
        ("bnfold fold --inputs pictures/", "file,pictures/"),
        ("bnfold fold net", "file,net"),
    ],
)
def test_the_shell_completes(line: str, offered: str) -> None:
    asked = {
        "_BNFOLD_COMPLETE": "bash_complete",
        "COMP_WORDS": line,
        "COMP_CWORD": str(len(line.split()) - 1),
    }
    done = subprocess.run(
        [sys.executable, "-c", "from bnfold.__main__ import main; main()"],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={**os.environ, **asked},
        timeout=60,
        check=True,
    )
    assert offered in done.stdout.splitlines()


def test_no_name_is_broken_on_a_narrow_terminal(
    bnfold: Callable[..., Ran], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = onnx.load(saved(tmp_path, TWO_BLOCKS))
    for node in model.graph.node:
        node.name = f"/backbone/stages.1/residual_unit/block0/{node.op_type}/{node.output[0]}"
    onnx.save(model, tmp_path / "net.onnx")
    monkeypatch.setenv("COLUMNS", "80")
    shown = bnfold("inspect", tmp_path / "net.onnx", "-v").out
    words = shown.replace(",", " ").replace("'", " ").split()
    for node in model.graph.node:
        if node.op_type == "BatchNormalization":
            assert node.name in words
    assert "BatchNormalization" in words and "BatchNormalizati" not in words


@pytest.mark.parametrize(
    "line",
    [
        ["fold", ""],
        ["fold", "net.onnx", "-o", ""],
        ["fold", "net.onnx", "--json", ""],
        ["check", ""],
        ["batch", "net.onnx", "--out", ""],
        ["batch", "", "--out", "folded"],
    ],
)
def test_an_empty_name_is_a_slip(bnfold: Callable[..., Ran], here: Path, line: list[str]) -> None:
    """A variable of a script that is not set: never the current folder."""
    done = bnfold(*line)
    assert done.code == 2
    assert "is empty; expected" in done.last or "cannot be ''; expected" in done.last


def test_a_name_to_rename_is_one_of_the_model(bnfold: Callable[..., Ran], here: Path) -> None:
    done = bnfold("verify", "net.onnx", "net.onnx", "--rename", "nosuch=y")
    assert done.code == 2
    assert "--rename names 'nosuch', which is no input or output of the model" in done.last


def test_a_url_for_python(here: Path) -> None:
    import bnfold as api

    with pytest.raises(api.Unreadable, match="a URL is no file: download it first"):
        api.load("https://example.org/net.onnx")
