"""`bnfold check`: the CI gate."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from .. import checking
from ..reporting import json as documents
from . import options as rows
from . import request
from .ending import Ending, of_checks
from .options import FILE, FOLD, READ, REPORT, VERIFY, options


@click.command("check")
@click.argument("files", nargs=-1, required=True, type=FILE, metavar="MODEL...")
@click.option("--allow-kept", multiple=True, metavar="CODE",
              help="A reason for which a batch norm may be kept (repeatable, with *; default: any).")
@click.option("--max-size", type=click.IntRange(0), metavar="BYTES", help="Largest size of a model's files together.")
@click.option("--against", type=FILE, metavar="MODEL", help="A model that each must be numerically equal to.")
@click.option("--against-weights", type=FILE, metavar="WEIGHTS", help="The weights of --against.")
@options(FOLD, READ, VERIFY, REPORT)
def command(files: tuple[Path, ...], allow_kept: tuple[str, ...], max_size: int | None, against: Path | None,
            against_weights: Path | None, **values: Any) -> Ending:
    """Hold each MODEL against a policy: it loads, the ONNX checker takes it, no foldable batch norm is left in it.

    MODEL is a file, a folder or a pattern; weights stand behind their network or beside it under the same name. All violations are
    listed. Exit code 1 when a policy is not met, 3 or 4 when a model cannot be read.
    """
    view = request.view_of(values)
    with request.documented("check", values) as content:
        verify = rows.verify_options(values)
        assert verify is not None
        policy = checking.Policy(allow_kept or ("*",), max_size, against, against_weights, rows.read_options(values),
                                 rows.fold_options(values), verify)
        with view.working():
            checks = [checking.check(network, weights, policy, view.say) for network, weights in checking.expand(files)]
        ending = of_checks(checks)
        content.update({"code": ending.code, **documents.of_checks(checks)})
    for one in checks:
        if one.origin is not None:
            request.tell(view, one.origin)
    if view.shows_results:
        from ..reporting import text

        view.show(*text.checked(checks))
    return ending
