"""`bnfold completion`: the shell completes commands, options and files."""

from __future__ import annotations

import os
from pathlib import Path

import click
from click.shell_completion import get_completion_class

from ..errors import UsageError
from ..files import atomic
from . import screen
from .ending import Ending
from .help import Command
from .help import option as grouped

SHELLS = ("bash", "zsh", "fish")
_VARIABLE = "_BNFOLD_COMPLETE"  # by which click tells a call of the shell from one of the user
_ZSH = "fpath+=~/.zfunc; autoload -Uz compinit && compinit  # completion of bnfold\n"


@click.command(
    "completion",
    cls=Command,
    examples=(
        (
            "Install it for the shell in use; it works in the next shell that starts.",
            "bnfold completion --install",
        ),
        ("Try it in this shell.", 'eval "$(bnfold completion bash)"'),
    ),
)
@click.argument("shell", required=False, metavar="[bash|zsh|fish]")
@grouped("Output", "--install", is_flag=True, help="Put the script where the shell looks for it.")
def command(shell: str | None, install: bool) -> Ending:
    """Print or install the script that lets a shell complete commands, options and files of bnfold.

    Without a name, the script is for the shell in $SHELL."""
    shell = shell or Path(os.environ.get("SHELL", "")).name
    if shell not in SHELLS:
        raise UsageError(
            f"no completion for the shell '{shell}'",
            expected=f"one of {', '.join(SHELLS)}",
            way_out="as in 'bnfold completion bash --install'",
        )
    script = _script(shell)
    if not install:
        screen.write(script)
        return Ending(0, "")
    target = _home_of(shell)
    with atomic.failing(target):
        target.parent.mkdir(parents=True, exist_ok=True)
    atomic.replace(target, script)
    if shell == "zsh":
        _add_once(Path.home() / ".zshrc", _ZSH)
    return Ending(0, f"PASS written={target}")


def _script(shell: str) -> str:
    completion = get_completion_class(shell)
    assert completion is not None
    group = click.get_current_context().find_root().command
    return completion(group, {}, "bnfold", _VARIABLE).source()


def _home_of(shell: str) -> Path:
    """Where the shell looks for completions of a user."""
    home = Path.home()
    if shell == "bash":
        data = Path(os.environ.get("XDG_DATA_HOME") or home / ".local" / "share")
        return data / "bash-completion" / "completions" / "bnfold"
    if shell == "fish":
        settings = Path(os.environ.get("XDG_CONFIG_HOME") or home / ".config")
        return settings / "fish" / "completions" / "bnfold.fish"
    return home / ".zfunc" / "_bnfold"


def _add_once(file: Path, line: str) -> None:
    with atomic.failing(file):
        text = file.read_text(encoding="utf-8") if file.exists() else ""
    if line not in text:
        atomic.replace(file, text + line)
