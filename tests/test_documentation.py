"""What README and docs/ promise is there: every command and Python snippet runs, and commands, options, exit
codes and files exist.

A page runs in a folder of its own that holds the samples. Its blocks of `sh`, `console` and `python` run in their
order; a command that ends in `# exit code N` must end so, every other one of `sh` must succeed; what a block of
`console` shows must be what is printed (page_outputs.py). What installs (the block of README that makes a virtual
environment, and the tests themselves) is run by .ci/run instead. Python that needs a package which is not here is
left out.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import warnings
from pathlib import Path

import pytest
from click.testing import CliRunner

from bnfold import errors
from bnfold.cli.main import COMMANDS, group
from bnfold.reading.caffe import layers as _built_in  # noqa: F401  (fills LAYERS, so that what a page teaches can be told from it)
from bnfold.reading.caffe.registry import LAYERS

from . import page_outputs

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
README = PAGES[0].read_text(encoding="utf-8")
BLOCK = re.compile(r"^```(sh|python|console)\n(.*?)^```$", re.M | re.S)
INSTALLS = ("python3 -m venv", "pip install")
NEEDS = {"--oracle": "cv2"}  # what is in a command -> the module that an extra brings for it
OPTIONAL = ("torch", "tensorflow", "tf2onnx", "ultralytics", "openvino", "ncnn")  # that a snippet may import


def name(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


def blocks(page: Path) -> list[tuple[str, str]]:
    return BLOCK.findall(page.read_text(encoding="utf-8"))


RUN = [
    pytest.param(page, id=name(page), marks=() if page == PAGES[0] else pytest.mark.slow)
    for page in PAGES
    if blocks(page)
]


def commands(text: str) -> list[str]:
    """The lines of a block that are run here."""
    lines = [line for line in text.replace("\\\n", " ").splitlines() if line and not line.startswith("#")]
    return [
        line
        for line in lines
        if not line.startswith(INSTALLS) and not any(flag in line and missing(m) for flag, m in NEEDS.items())
    ]


def missing(module: str) -> bool:
    try:
        __import__(module)
    except ImportError:
        return True
    return False


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where a page runs: the samples, and `bnfold` as this checkout has it."""
    monkeypatch.setenv("PATH", f"{page_outputs.prepared(tmp_path)}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(command: str) -> None:
    """One line of a shell."""
    command, _, code = command.partition("  # exit code ")
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == int(code or 0), f"$ {command}\n{done.stdout}{done.stderr}"


@pytest.mark.skipif(shutil.which("bash") is None, reason="the documentation's commands are for a POSIX shell")
@pytest.mark.parametrize("page", RUN)
def test_the_page_runs(page: Path, folder: Path) -> None:
    names: dict[str, object] = {}
    known = dict(LAYERS)
    try:
        for language, text in blocks(page):
            if language == "sh":
                for command in commands(text):
                    run(command)
            elif language == "console":
                here = page_outputs.printed(text, folder)
                assert page_outputs.alike(text, here), f"python -m tests.page_outputs\n{here}"
            elif not any(re.search(rf"^(import|from) {m}\b", text, re.M) and missing(m) for m in OPTIONAL):
                with warnings.catch_warnings():
                    if any(module in text for module in OPTIONAL):
                        warnings.simplefilter("default")  # what other packages warn of is theirs
                    exec(compile(text, name(page), "exec"), names)
    finally:
        LAYERS.clear()
        LAYERS.update(known)


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_every_option_and_command_exists(page: Path) -> None:
    said = page.read_text(encoding="utf-8")
    of_others = {"--model-check", "--overwrite-input-shape", "--test-input-shape"}
    pages = [help_of(), *map(help_of, COMMANDS)]
    options = {flag for shown in pages for flag in re.findall(r"--[a-z][a-z-]+", shown)}
    text = re.sub(r"^.*\b(mkdocs|pip|venv|trtexec|python -m tests)\b.*$", "", said, flags=re.M)
    assert set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", text)) <= options | of_others
    assert set(re.findall(r"(?:^ {4}|`)bnfold ([a-z]\w*)", said, re.M)) <= set(COMMANDS)


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_links_lead_to_files(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#:]+)(?:#[\w-]+)?\)", page.read_text(encoding="utf-8")):
        assert (page.parent / target).exists(), target


def help_of(*arguments: str) -> str:
    result = CliRunner().invoke(group, [*arguments, "--help"])
    assert result.exit_code == 0, result.output
    return result.output


def test_readme_lists_the_commands_of_help():
    listed = re.findall(
        r"^bnfold (\w+)", README.partition("## On the command line")[2].partition("```\n\n")[0], re.M
    )
    assert listed == list(COMMANDS)


def test_exit_codes_are_those_of_the_errors():
    section = README.partition("| exit code |")[2].partition("\n\n")[0]
    codes = {int(code) for code in re.findall(r"^\| (\d+) \|", section, re.M)}
    classes = {
        cls.exit_code
        for cls in vars(errors).values()
        if isinstance(cls, type) and issubclass(cls, errors.BnfoldError)
    }
    assert codes == classes | {errors.OK}
