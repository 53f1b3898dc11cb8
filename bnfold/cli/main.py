"""The group of commands, and the one place where errors become exit codes and the last line.

    bnfold: PASS folded=53 kept=2 noise=1.1 max_error=2.3e-07 ep=cpu
    bnfold: FAIL <sentence>
    bnfold: ERROR code=3 <sentence>

Commands are imported when they are called, so that --help and --version answer at once. A command returns an
Ending, or raises.
"""

from __future__ import annotations

import gc
import os
import signal
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from importlib import import_module
from pathlib import Path

import click

from ..errors import (
    BUG,
    NOT_EQUIVALENT,
    STOPPED,
    UNSUPPORTED,
    USAGE,
    BnfoldError,
    NotEquivalent,
    UsageError,
    of_system,
    one_line,
)
from ..files.discovery import MODELS, WEIGHTS, is_url, suffix
from ..files.memory import SHORT, is_lack
from ..files.supervision import WHOLE
from ..version import __version__
from .ending import Ending
from .limit import Late
from .screen import say, tolerant
from .signals import Signals

COMMANDS = {
    "fold": "Fold the batch norms of a model, verify the result, write it.",
    "convert": "Write a model as ONNX without folding anything.",
    "verify": "Compare two models: are they numerically the same?",
    "inspect": "Show what is in a model, what would be folded, what not, and why.",
    "recalibrate": "Estimate the statistics of batch norms again, from real inputs.",
    "slim": "Remove channels that do nothing, or little, from a model.",
    "batch": "Fold many models, on all cores or on a cluster.",
    "check": "Check models against a policy: the gate for CI.",
    "audit": "Check that a model is still the one that its certificate describes.",
    "bench": "Measure how long models take, before and after folding.",
    "report": "Make an HTML page from a result that --json wrote.",
    "selftest": "Check that this machine's libraries compute what they should.",
    "completion": "Let the shell complete commands, options and files.",
}


class _Late(click.Group):
    """Commands by name, each in the file of its name; the list of them needs no import."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Versions of click part ways over a call without a command: one ends well, another with an error."""
        if not args and not ctx.resilient_parsing:
            say(ctx.get_help())
            raise UsageError("no command is given")
        return super().parse_args(ctx, args)

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """What is no command is a slip, or a model whose command was left out."""
        if args[0] not in COMMANDS and not args[0].startswith("-"):
            raise _no_command(args)
        return super().resolve_command(ctx, args)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        import logging

        # what it warns of, our own errors say in a sentence
        logging.getLogger("onnx_ir").setLevel(logging.CRITICAL)
        return import_module(f".{cmd_name}", __package__).command  # type: ignore[no-any-return]

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


def _no_command(arguments: list[str]) -> UsageError:
    """What is wrong with a command line that begins with no command, and the line that may be meant."""
    import shlex
    from difflib import get_close_matches

    name = arguments[0]
    if name == "help":
        page = shlex.join(["bnfold", *(a for a in arguments[1:2] if a in COMMANDS), "--help"])
        return UsageError(f"no command '{name}'", way_out=f"help is printed by '{page}'")
    if Path(name).is_dir():
        return UsageError(
            f"{name} stands where a command is expected",
            way_out=f"to fold every model in it: bnfold batch {shlex.join(arguments)} -o folded",
        )
    if is_url(name) or suffix(name) in (*MODELS, *WEIGHTS.values()) or Path(name).is_file():
        command = "batch" if is_url(name) else "fold"
        folder = " -o folded" if is_url(name) else ""
        return UsageError(
            f"{name} stands where a command is expected",
            way_out=f"to fold it: bnfold {command} {shlex.join(arguments)}{folder}",
        )
    near = get_close_matches(name, COMMANDS, 1)
    line = f"did you mean 'bnfold {shlex.join([near[0], *arguments[1:]])}'?" if near else ""
    return UsageError(f"no command '{name}'", expected=f"one of {', '.join(COMMANDS)}", way_out=line)


@click.group(cls=_Late, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, "-V", "--version", message="bnfold %(version)s")
def group() -> None:
    """Fold every batch norm that can be folded exactly, in Caffe, darknet and ONNX models, and prove with
    numbers that nothing changed.

    MODEL is an .onnx, a .prototxt (with its .caffemodel) or a .cfg (with its .weights). '-' stands for
    standard input and standard output. 'bnfold fold --help' shows examples.
    """


def run(arguments: list[str]) -> int:
    """Run the command line; its last line is on stderr when this returns the exit code."""
    tolerant()
    # one short run over long-lived objects; where models are made again and again, pipeline.py collects
    gc.disable()
    signals = Signals()
    try:
        with signals:
            ending = _ending(arguments, signals)
    except BaseException as error:  # a signal came when the run was over, but not all said
        ending = _interrupted(signals.asked, error)
    if ending.line:
        say(f"bnfold: {one_line(ending.line)}")
    return ending.code


def _ending(arguments: list[str], signals: Signals) -> Ending:
    """What the command line comes to, whatever happens on the way."""
    try:
        with _naming_flags(arguments):
            found = group.main(arguments, prog_name="bnfold", standalone_mode=False)
    except BaseException as error:
        if signals.asked or isinstance(error, (KeyboardInterrupt, click.exceptions.Abort)):
            return _interrupted(signals.asked, error)
        return _failed(error)
    return found if isinstance(found, Ending) else Ending(int(found or 0), "")


def _naming_flags(arguments: Sequence[str]) -> AbstractContextManager[None]:
    """Messages name options by their flags. A call that asks for help alone needs no options, and answers
    sooner without them."""
    if not any(argument in COMMANDS for argument in arguments):
        return nullcontext()
    from ..results.options import command_line

    return command_line()


def _interrupted(number: int, error: BaseException) -> Ending:
    return _error(128 + (number or signal.SIGINT), f"interrupted; {_note(error)}")


def _failed(error: BaseException) -> Ending:
    """The ending that an exception means."""
    if os.environ.get("BNFOLD_DEBUG"):
        import traceback

        traceback.print_exception(error)
    if isinstance(error, NotEquivalent):
        return Ending(error.exit_code, f"FAIL {error}")
    if isinstance(error, OSError) and (ours := of_system(error)) is not None:
        error = ours
    if isinstance(error, BnfoldError):
        return _error(error.exit_code, str(error))
    if isinstance(error, click.UsageError):
        if error.ctx is not None:
            say(error.ctx.get_usage())
        return _error(USAGE, error.format_message())
    if isinstance(error, click.ClickException):
        return _error(USAGE, error.format_message())
    return _unexpected(error)


def _unexpected(error: BaseException) -> Ending:
    if isinstance(error, Late):
        return _error(STOPPED, f"{error}; {_note(error)}")
    if isinstance(error, click.exceptions.Exit):
        return Ending(error.exit_code, "")
    if isinstance(error, SystemExit):
        return Ending(error.code if isinstance(error.code, int) else NOT_EQUIVALENT, "")
    lack = SHORT if is_lack(error) else _missing_package(error)
    if lack:
        return _error(UNSUPPORTED, lack)
    detail = f"{type(error).__name__}: {error}".strip()
    return _error(
        BUG,
        f"internal error ({detail}); this is a bug in bnfold, please report it (BNFOLD_DEBUG=1 shows where)",
    )


def _missing_package(error: BaseException) -> str:
    """In words which package is not installed beside bnfold, or nothing."""
    name = error.name if isinstance(error, ModuleNotFoundError) else None
    if not name or name.startswith("bnfold"):
        return ""
    return f"the Python package '{name}' is not installed; install bnfold again, as README shows"


def _note(error: BaseException | None) -> str:
    """What a command knows of its own interruption. The error may be a consequence of it (click's of Ctrl-C,
    a library's of the signal)."""
    while error is not None:
        if notes := getattr(error, "__notes__", ()):
            return str(notes[0])
        error = error.__cause__ or error.__context__
    return WHOLE


def _error(code: int, sentence: str) -> Ending:
    return Ending(code, f"ERROR code={code} {sentence}")
