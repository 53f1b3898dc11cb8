"""`bnfold check`: the CI gate."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from ..errors import UsageError
from ..files import atomic
from ..gate import baseline as ratchet
from ..gate import check, places, policy
from ..reporting import json as documents
from ..results.fold_result import Checked
from . import options as rows
from . import request, screen
from .ending import Ending, of_checks
from .help import Command
from .help import option as grouped
from .options import FOLD, JUNIT, LIMIT, POLICY, READ, READ_FILE, REPORT, VERIFY, options


@click.command(
    "check",
    cls=Command,
    examples=(
        ("Fail where a foldable batch norm is left in any model.", "bnfold check models/"),
        ("For a CI service that shows JUnit.", "bnfold check models/ --junit bnfold.xml"),
        (
            "Accept what was there before, fail for what is new.",
            "bnfold check models/ --baseline baseline.json",
        ),
    ),
)
@click.argument("files", nargs=-1, required=True, type=READ_FILE, metavar="MODEL...")
@grouped(
    "Policy",
    "--policy",
    "policy_path",
    type=READ_FILE,
    metavar="FILE",
    help="Read the policy from this TOML file (default: bnfold.toml or [tool.bnfold] of pyproject.toml "
    "here).",
)
@grouped(
    "Policy",
    "--baseline",
    type=READ_FILE,
    metavar="FILE",
    help="Fail only what got worse since this result, which an earlier --json wrote.",
)
@options(POLICY)
@grouped(
    "Policy",
    "--against",
    type=READ_FILE,
    metavar="MODEL",
    help="Require that each model is numerically equal to this one.",
)
@grouped(
    "Policy",
    "--against-weights",
    type=READ_FILE,
    metavar="WEIGHTS",
    help="Take the weights of --against from this file (default: beside it).",
)
@grouped("Policy", "--require-certificate", is_flag=True, help="Require a certificate beside each model.")
@options((JUNIT,))
@grouped("Output", "--sarif", "sarif_path", metavar="PATH", help="Write the result as SARIF 2.1.0.")
@options(FOLD, READ, VERIFY, LIMIT, REPORT)
def command(
    files: tuple[Path, ...], policy_path: Path | None, baseline: Path | None, **values: Any
) -> Ending:
    """Check each MODEL against a policy: it can be read, the ONNX checker accepts it, no foldable batch norm
    is left in it, and it is the model that the certificate beside it (net.cert.json) was made for.

    MODEL is a file, a folder or a pattern. Weights follow their network, or lie beside it under the same
    name. All violations are listed. The exit code is 1 when a policy is not met, and 3 or 4 when a model
    cannot be read.
    """
    view = request.view_of(values)
    with request.documented(
        "check", values, (policy_path, baseline, *map(Path, places.POLICIES), *files)
    ) as content:
        policies = _policies(policy_path, values)
        known = ratchet.read(baseline, documents.SCHEMA) if baseline is not None else None
        models = check.expand(files)
        with view.working():
            checks = [
                check.check(network, weights, policies.of(network), view.say) for network, weights in models
            ]
        if known is not None:
            checks = ratchet.held(checks, known)
        ending = of_checks(checks)
        content.update({"code": ending.code, **documents.of_checks(checks)})
        _deliver(checks, ending.code, values, ratcheted=known is not None)
    _show(checks, view)
    return ending


def _policies(path: Path | None, values: Mapping[str, Any]) -> policy.Policies:
    """What the policy file says, and before it what the command line says."""
    verify = rows.verify_options(values)
    assert verify is not None
    called: dict[str, Any] = {
        "read": rows.read_options(values),
        "fold": rows.fold_options(values),
        "verify": verify,
    }
    if values["allow_kept"]:
        called["kept"] = tuple(values["allow_kept"])
    if values["against"] is not None:
        called |= {"against": values["against"], "against_weights": values["against_weights"]}
    elif values["against_weights"] is not None:
        raise UsageError("--against-weights without --against", expected="both")
    if values["against"] is None and (baked := called["read"]) != baked.unbaked:
        raise UsageError(
            "--bake-input, --input-type or --input-layout without --against",
            expected="--against: what is checked is taken as it is, and the other one gets the preprocessing",
        )
    called |= {
        name: getattr(verify, name) for name in ("providers", "noise_limit") if values[name] is not None
    }
    if values["max_size"] is not None:
        called["max_size"] = values["max_size"]
    if values["require_certificate"]:
        called["require_certificate"] = True
    path = path or policy.find(Path())
    return policy.read(path, called) if path is not None else policy.Policies(called=called)


def _deliver(checks: Sequence[Checked], code: int, values: Mapping[str, Any], *, ratcheted: bool) -> None:
    """The files that CI services read."""
    if values["junit_path"] is not None:
        from ..reporting import junit

        request.write_file(values["junit_path"], junit.document(checks))
    if values["sarif_path"] is not None:
        from ..reporting import sarif

        request.write_file(values["sarif_path"], sarif.document(checks, code, ratchet=ratcheted))


def _show(checks: Sequence[Checked], view: screen.Screen) -> None:
    for one in checks:
        if one.origin is not None:
            request.tell(view, one.origin)
    if view.shows_results:
        from ..reporting import text

        view.show(*text.checked(checks))
    if os.environ.get("GITHUB_ACTIONS") == "true":
        _tell_github(checks, view)


def _tell_github(checks: Sequence[Checked], view: screen.Screen) -> None:
    """Annotations go to stderr, which the service reads too: stdout may be a document."""
    from ..reporting import github

    if not view.quiet:
        for line in github.commands(checks):
            screen.say(line)
    summary = os.environ.get("GITHUB_STEP_SUMMARY")
    if summary:
        with atomic.failing(summary), Path(summary).open("a", encoding="utf-8") as file:
            file.write(github.summary(checks))
