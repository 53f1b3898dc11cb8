"""`bnfold verify`: two models, are they numerically the same?"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from .. import pipeline
from ..errors import UsageError
from ..outcome import origin_of
from ..record import ReadOptions
from ..reporting import json as documents
from . import job as jobs
from . import options as rows
from .ending import Ending, of_comparison
from .options import FILE, READ, REPORT, VERIFY, options


@click.command("verify")
@click.argument("files", nargs=-1, required=True, type=FILE, metavar="REFERENCE [WEIGHTS] CANDIDATE")
@options(VERIFY, READ, REPORT)
def command(files: tuple[Path, ...], **values: Any) -> Ending:
    """Run REFERENCE and CANDIDATE on the same inputs and hold both against a float64 run of REFERENCE.

    They are the same when the error of CANDIDATE is within the noise of REFERENCE's own arithmetic.
    """
    view = jobs.view_of(values)
    with jobs.documented("verify", values) as content:
        if not 2 <= len(files) <= 3:
            raise UsageError(f"{len(files)} files", expected="REFERENCE [WEIGHTS] CANDIDATE")
        network, weights = files[0], files[1] if len(files) == 3 else None
        rows.check_format(pipeline.kind_of(network), values)
        wanted = rows.verify_options(values)
        assert wanted is not None
        with view.working():
            view.say("reading")
            reference = pipeline.load(network, weights, rows.read_options(values))
            candidate = pipeline.load(files[-1], None, ReadOptions(freeze_initializers=wanted.freeze_initializers))
            report = pipeline.compare(reference, candidate, wanted, view.say)
        origins = [origin_of(loaded) for loaded in (reference, candidate)]
        ending = of_comparison(report)
        content.update({"input": documents.of_origin(origins[0]), "candidate": documents.of_origin(origins[1]), "code": ending.code,
                        "verification": documents.of_comparison(report)})
    for origin in origins:
        jobs.tell(view, origin)
    if view.shows_results:
        from ..reporting import text

        view.show(*text.comparison(report, verbose=view.verbose))
    return ending
