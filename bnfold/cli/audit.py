"""`bnfold audit`: is a model still what its certificate says?"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from ..gate import audit
from ..reporting import json as documents
from . import request
from .ending import Ending, of_selftest
from .help import Command
from .options import LIMIT, READ_FILE, REPORT, options


@click.command(
    "audit",
    cls=Command,
    examples=(("Is the file what was certified?", "bnfold audit net.cert.json net.folded.onnx"),),
)
@click.argument("certificate", type=READ_FILE, metavar="CERTIFICATE")
@click.argument("model", type=READ_FILE, metavar="MODEL.onnx")
@click.argument("sources", nargs=-1, type=READ_FILE, metavar="[SOURCE [WEIGHTS]]")
@options(LIMIT, REPORT)
def command(certificate: Path, model: Path, sources: tuple[Path, ...], **values: Any) -> Ending:
    """Hold MODEL.onnx against the CERTIFICATE that 'bnfold fold --certificate' made: every bit of it, and,
    with the sources, every folded weight, derived again in float64, and every place where the two models
    differ, proved again. The model itself is not run.

    Without SOURCE the files that the certificate names are taken, if they are there. Exit code 1 when
    anything is not as certified.
    """
    view = request.view_of(values)
    with request.documented("audit", values, (certificate, model, *sources)) as content:
        with view.working():
            view.say("auditing")
            checks = audit.audit(certificate, model, sources)
        ending = of_selftest(checks)
        content.update({"code": ending.code, **documents.of_selftest(checks)})
    if view.shows_results:
        from ..reporting import text

        view.show(text.selftested(checks))
    return ending
