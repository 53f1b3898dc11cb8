"""What README promises is there: commands, options, exit codes, files, and the example runs."""

import re
from pathlib import Path

import pytest
from click.testing import CliRunner

from bnfold import errors
from bnfold.cli.main import group

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text()
COMMANDS = sorted(set(re.findall(r"^    bnfold (\w+)", README, re.M)))


def help_of(*arguments: str) -> str:
    result = CliRunner().invoke(group, [*arguments, "--help"])
    assert result.exit_code == 0, result.output
    return result.output


def test_the_commands_are_those_of_help():
    assert sorted(re.findall(r"^  (\w+)  ", help_of().partition("Commands:")[2], re.M)) == COMMANDS


@pytest.mark.parametrize("option", sorted(set(re.findall(r"--[a-z][a-z-]+", README))))
def test_each_option_exists(option):
    assert any(option in help_of(command) for command in COMMANDS)


def test_exit_codes_are_those_of_the_errors():
    section = README.partition("| exit code |")[2].partition("\n\n")[0]
    codes = {int(code) for code in re.findall(r"^\| (\d+) \|", section, re.M)}
    classes = {cls.exit_code for cls in vars(errors).values() if isinstance(cls, type) and issubclass(cls, errors.BnfoldError)}
    assert codes == classes | {errors.OK}


@pytest.mark.parametrize("target", re.findall(r"\]\(([^)#:]+)\)", README))
def test_links_lead_to_files(target):
    assert (ROOT / target).exists()


def test_the_example_runs(tmp_path, monkeypatch):
    """As it stands there, from a folder that holds the samples."""
    (tmp_path / "samples").symlink_to(ROOT / "samples")
    monkeypatch.chdir(tmp_path)
    example, = re.findall(r"```python\n(.*?)```", README, re.S)
    exec(compile(example, "README.md", "exec"), {})
    assert (tmp_path / "digits.folded.onnx").stat().st_size > 0
