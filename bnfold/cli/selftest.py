"""`bnfold selftest`: do this machine's libraries compute what they should?"""

from __future__ import annotations

from typing import Any

import click

from ..pipeline import compare
from ..reporting import json as documents
from . import request
from .ending import Ending, of_selftest
from .help import Command
from .options import REPORT, options


@click.command("selftest", cls=Command, examples=(("Is this machine fit to verify?", "bnfold selftest"),))
@options(REPORT)
def command(**values: Any) -> Ending:
    """Compute small networks and sums with known answers, which takes a few seconds. Right folds must pass
    on this machine, and planted faults must not."""
    view = request.view_of(values)
    with request.documented("selftest", values) as content:
        with view.working():
            checks = compare.selftest(view.say)
        ending = of_selftest(checks)
        content.update({"code": ending.code, **documents.of_selftest(checks)})
    if view.shows_results:
        from ..reporting import text

        view.show(text.selftested(checks))
    return ending
