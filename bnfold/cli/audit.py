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
@click.argument("model", type=READ_FILE, metavar="MODEL")
@click.argument("sources", nargs=-1, type=READ_FILE, metavar="[SOURCE [WEIGHTS]]")
@options(LIMIT, REPORT)
def command(certificate: Path, model: Path, sources: tuple[Path, ...], **values: Any) -> Ending:
    """Check every bit of MODEL against the CERTIFICATE that 'bnfold fold --certificate' made.

    With the sources, bnfold also derives every folded weight again in float64, and proves again every place
    where the two models differ. It does not run the model. Without SOURCE it reads the files that the
    certificate names, if they exist. The exit code is 1 when anything is not as certified.
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
