"""Where words go: results to stdout, everything else to stderr, one last line in a fixed form.

Rule 1: with `--json -` nothing but JSON is on stdout; a model or a page that goes there moves the results to
        stderr. With -q nothing but the last line is on stderr.
Rule 2: no colour, no bold without a terminal or under NO_COLOR; 80 columns where there is no terminal to ask.
Rule 3: the spinner shows on a terminal alone, and only when the work is long enough to wonder.
"""

from __future__ import annotations

import io
import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Timer
from typing import Any, TextIO

from ..errors import WriteError, one_line, reason

WIDTH = 80
PATIENCE = 0.7  # seconds without a sign of life
_shown_as: dict[str, str] = {}  # temporary files, and what the user calls them


class Screen:
    """What one command prints, and how loudly."""

    def __init__(
        self,
        *,
        quiet: bool = False,
        verbose: bool = False,
        json_on_stdout: bool = False,
        stdout_is_taken: bool = False,
    ) -> None:
        self.quiet = quiet
        self.verbose = verbose
        self.shows_results = not (quiet or json_on_stdout)
        self.stdout_is_taken = stdout_is_taken
        self._status: Any = None

    def show(self, *renderables: Any) -> None:
        """Results, on stdout where nothing else goes there."""
        if self.shows_results:
            sheet = _Sheet(sys.stderr if self.stdout_is_taken else sys.stdout)
            console = _console(sheet)
            for renderable in renderables:
                console.print(renderable, overflow="ignore", crop=False)  # no name is cut or broken
            if self.stdout_is_taken:
                say(sheet.getvalue().removesuffix("\n"))
            else:
                write(sheet.getvalue())

    def warn(self, text: str) -> None:
        """Something the user should know, on stderr."""
        if not self.quiet:
            say(f"warning: {one_line(text)}")

    def note(self, text: str) -> None:
        """Something the user may like to know, on stderr, under -v."""
        if self.verbose and not self.quiet:
            say(f"note: {one_line(text)}")

    def say(self, stage: str) -> None:
        """What is being done now; seen on a terminal while it takes long."""
        if self._status is not None:
            self._status.update(f"{stage} ...")

    @contextmanager
    def working(self) -> Iterator[None]:
        """While this is open, `say` shows on a terminal."""
        if self.quiet or not sys.stderr.isatty() or os.environ.get("TERM") == "dumb":
            yield
            return
        from rich.status import Status

        self._status = Status("working ...", console=_console(sys.stderr))
        timer = Timer(PATIENCE, self._status.start)
        timer.daemon = True
        timer.start()
        try:
            yield
        finally:
            timer.cancel()
            timer.join()
            self._status.stop()
            self._status = None


class _Sheet(io.StringIO):
    """Text in memory that rich takes for the stream it will go to; so that writing, and what can go wrong
    with it, is ours."""

    def __init__(self, stream: TextIO) -> None:
        super().__init__()
        self._stream = stream

    @property
    def encoding(self) -> str:  # type: ignore[override]  # read by rich, written by nobody
        return self._stream.encoding

    def isatty(self) -> bool:
        return self._stream.isatty()


def say(line: str) -> None:
    """One line on stderr. Where nobody can hear, nothing is said, and the exit code tells."""
    try:
        print(renamed(line), file=sys.stderr, flush=True)
    except OSError:
        _mute(sys.stderr)


def tolerant() -> None:
    """Print what the terminal's encoding does not know as an escape, and to a stream that the caller has
    closed nothing. The numbers of closed streams are taken, so that no file of ours is what a library
    believes to be its stderr."""
    _shown_as.clear()
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= 2:
        os.set_inheritable(descriptor, True)
    os.close(descriptor)
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, Path(os.devnull).open("w", encoding="utf-8"))  # noqa: SIM115 - for as long as we run
        elif isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def rename(path: str, name: str) -> None:
    """From here on everything that is printed calls a temporary file by this name."""
    _shown_as[path] = name


def renamed(text: str) -> str:
    """A text with the names of temporary files that the user knows."""
    for path, name in _shown_as.items():
        text = text.replace(path, name)
    return text


def write(text: str) -> None:
    """Text on stdout. A reader that left early (`| head`) is no error: what remains goes nowhere."""
    with _unbroken():
        sys.stdout.write(renamed(text))
        sys.stdout.flush()


def write_file(path: Path) -> None:
    """The bytes of a file, on stdout."""
    with _unbroken(), path.open("rb") as file:
        shutil.copyfileobj(file, sys.stdout.buffer)
        sys.stdout.flush()


@contextmanager
def _unbroken() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        _mute(sys.stdout)
        if not isinstance(error, BrokenPipeError):
            raise WriteError(f"cannot be written ({reason(error)})", where="standard output") from error


def _mute(stream: TextIO) -> None:
    """What is still buffered must go somewhere at exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def _console(stream: TextIO) -> Any:
    from rich.console import Console

    width = None if stream.isatty() or "COLUMNS" in os.environ else WIDTH
    plain = os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb"
    return Console(
        file=stream,
        width=width,
        highlight=False,
        soft_wrap=False,
        emoji=False,
        markup=False,
        force_terminal=False if plain else None,
    )
