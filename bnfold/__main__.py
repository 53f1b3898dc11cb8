"""`python -m bnfold`, and the console script."""

from __future__ import annotations

import sys

from .files.supervision import guarded


def main() -> None:
    """Run the command line and leave with its exit code."""
    sys.exit(guarded(_work, _clean))


def _work() -> int:
    from .cli.main import run

    return run(sys.argv[1:])


def _clean(folders: list[str]) -> None:
    import shutil
    from contextlib import suppress
    from pathlib import Path

    from .files import journal

    for folder in folders:
        with suppress(OSError, ValueError):  # what was decided is done first
            journal.finish(Path(folder))
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
