"""The certificate of a fold: evidence that lasts, as a JSON document.

    made(job, result, target)    the Certificate of a fold that passed
    text(certificate)            as it is written; the same fold gives the same text but for `made`
    read(path)                   back from a file, strictly
    digest(certificate)          SHA-256 of everything in it but `made` and itself

Rule 1: the document is the dataclass: what is written are its fields, what is read must fit its types, so the
        two cannot part ways. A field that is not there has its default; one that nobody knows is an error.
Rule 2: files are named relative to the certificate, so that a repository can be cloned anywhere.
Rule 3: the digest finds an accident or a careless edit. Who changes a certificate on purpose can compute a
        new one; against that help the sources, from which `bnfold audit` derives every weight again.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import platform
import re
from collections.abc import Sequence
from dataclasses import asdict, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ..errors import Malformed, Mismatch, UsageError
from ..files.stamps import unchanged
from ..files.text_files import opened, read_json
from ..pipeline.job import Job
from ..pipeline.pipeline import new_statistics, weights_for, without_fold
from ..results.certificate import SCHEMA, Certificate, Estimated, Evidence, FileEntry, Fold, Measured
from ..results.comparison import Comparison, finite
from ..results.fold_result import FoldResult, Recalibration
from ..results.from_json import Unfit, decoded
from ..results.model_names import images
from ..results.plan import Folded
from ..version import __version__

_LARGEST = 1 << 26  # bytes of a certificate file
_EXPECTED = "what 'bnfold fold --certificate' wrote"

ALONE = (
    "this is no fold: the statistics of batch norms were estimated again from data, and the output computes "
    "something else than the sources"
)
BEFORE = (
    "the statistics of batch norms were estimated again from data before the fold: this is no fold of the "
    "sources, but of the sources with the statistics that stand here"
)
CONDITIONS = {
    "backward": "what it works on is read by this map s*y + t alone, and y = W*x + b: (s*W)*x + (s*b + t) "
    "holds both",
    "merged": "a parallel branch of a linear operator: W*x + b and s*x + t are one operator (W + s)*x + (b + "
    "t)",
    "forward": "all that reads it is linear, and no padding meets its shift: W*(s*x + t) + b is (W*s)*x + "
    "(W*t + b)",
}


def made(job: Job, result: FoldResult | Recalibration, target: Path) -> Certificate:
    """The certificate, for a file `target`, of a fold that is done, or of a model with new statistics: reads
    every file once for its hash. Raises UsageError for a SOURCE_DATE_EPOCH that is no time, Unreadable for a
    file that is gone or not what was folded."""
    with unchanged(result.origin.stamps) as check:
        certificate = _made(job, result, target)
        check()
    return certificate


def _made(job: Job, result: FoldResult | Recalibration, target: Path) -> Certificate:
    assert result.path is not None
    estimated = _estimated(job, result, target.parent)
    if isinstance(result, Recalibration):
        result = without_fold(result)
    assert result.path is not None
    plan, folder = result.plan, target.parent
    epsilon = {b.node: b.epsilon for b in result.detail.batch_norms} if result.detail is not None else {}
    folded = tuple(Fold(f, _condition(f), epsilon.get(f.node)) for f in plan.folded)
    output = [replace(entry(f, f.parent), path=f.name) for f in (result.path, *result.data)]
    certificate = Certificate(
        schema=SCHEMA,
        made=_now(),
        version=__version__,
        libraries=_libraries(),
        format=result.origin.format,
        dialect=result.origin.dialect,
        dialect_reason=result.origin.dialect_reason,
        sources=tuple(entry(f, folder) for f in result.origin.files),
        weights_apart=weights_for(job.source, job.weights, job.read) is not None,
        output=tuple(output),
        read=job.read.with_mean_files(lambda file: _relative(Path(file), folder)),
        fold=job.fold,
        folded=folded,
        kept=plan.kept,
        withdrawn=plan.withdrawn,
        merged=plan.merged,
        unchanged=result.unchanged,
        verification=_evidence(job, result.report, folder),
        baked=tuple(one.portable for one in result.origin.baked),
        outside=result.outside,
        recalibrated=estimated,
    )
    return replace(certificate, digest=digest(certificate))


def text(certificate: Certificate) -> str:
    """As JSON, indented, pure ASCII."""
    return json.dumps(_document(certificate), indent=1, allow_nan=False) + "\n"


def _document(certificate: Certificate) -> dict[str, Any]:
    """Plain values. What no fold of an earlier version had is left out where it is not there, so that these
    read it."""
    document: dict[str, Any] = finite(asdict(certificate))
    if document["recalibrated"] is None:
        del document["recalibrated"]
    return document


def digest(certificate: Certificate) -> str:
    """SHA-256 of the fields in a canonical form."""
    return _digest(_document(certificate))


def _digest(document: dict[str, Any]) -> str:
    """Of the fields that a document has: those of an earlier version lack some."""
    fields = {k: v for k, v in document.items() if k not in ("made", "digest")}
    evidence = fields.get("verification")
    if evidence is not None and evidence.get("proof") is None:
        fields["verification"] = {k: v for k, v in evidence.items() if k != "proof"}
    return hashlib.sha256(
        json.dumps(fields, sort_keys=True, separators=(",", ":"), allow_nan=False).encode()
    ).hexdigest()


def read(path: Path) -> Certificate:
    """A certificate. Raises Unreadable, Malformed for what is none of this version, Mismatch where its own
    digest is another."""
    document = read_json(path, _LARGEST, _EXPECTED)
    schema = document.get("schema") if isinstance(document, dict) else None
    if schema != SCHEMA:
        shown = f"the schema is {schema!r}"[:100] if isinstance(schema, str) else "it names no schema"
        raise Malformed(shown, where=path, expected=f"'{SCHEMA}', {_EXPECTED}")
    try:
        certificate: Certificate = decoded(Certificate, _completed(document))
    except Unfit as error:
        raise Malformed(str(error), where=path, expected=_EXPECTED) from error
    if _digest(document) != certificate.digest:
        raise Mismatch(
            "it was changed after it was made: its digest does not match its content",
            where=path,
            way_out="make it again with 'bnfold fold --certificate'",
        )
    _check(certificate, path)
    return certificate


def _completed(document: dict[str, Any]) -> dict[str, Any]:
    """With what an earlier version did and had no option for: it folded what runtimes fuse."""
    fold = document.get("fold")
    return {**document, "fold": {"fold_patterns": True, **fold}} if isinstance(fold, dict) else document


def entry(file: Path, folder: Path) -> FileEntry:
    """A file with its hash. Raises Unreadable."""
    return FileEntry(_relative(file, folder), sha256(file), file.stat().st_size)


def sha256(file: Path) -> str:
    """Of a regular file, block by block. Raises Unreadable."""
    with opened(file) as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _condition(fold: Folded) -> str:
    passed = (
        f"; the map passes {', '.join(fold.via)} unchanged or in a form that is exact" if fold.via else ""
    )
    return CONDITIONS[fold.direction] + passed


def _evidence(job: Job, report: Comparison | None, folder: Path) -> Evidence | None:
    if report is None or job.verify is None:
        return None
    providers = tuple(
        Measured(p.provider, p.engine, p.passed, p.noise, p.max_error, p.outputs) for p in report.providers
    )
    files = tuple(entry(Path(name), folder) for _, name in job.verify.input_files if Path(name).is_file())
    return Evidence(
        equivalent=report.equivalent,
        truth=report.truth,
        seed=report.seed,
        samples=job.verify.samples,
        noise_limit=report.noise_limit,
        inputs=report.inputs,
        files=files,
        providers=providers,
        folds=report.folds,
        environment=report.environment,
        proof=report.proof,
    )


def _estimated(job: Job, result: FoldResult | Recalibration, folder: Path) -> Estimated | None:
    alone = isinstance(result, Recalibration)
    found = result.statistics if isinstance(result, Recalibration) else result.recalibrated
    if found is None:
        return None
    return Estimated(
        note=ALONE if alone else BEFORE,
        alone=alone,
        inputs=found.inputs,
        one_pass=found.one_pass,
        files=tuple(_of_data(Path(file), folder) for _, file in job.estimate.files),
        statistics=new_statistics(result),
    )


def _of_data(place: Path, folder: Path) -> FileEntry:
    """A file, or the images of a folder as one: the hash of their names and hashes."""
    if not place.is_dir():
        return entry(place, folder)
    files = [entry(file, place) for file in images(place)]
    listed = "".join(f"{one.sha256}  {one.path}\n" for one in files)
    digest = hashlib.sha256(listed.encode("utf-8", "surrogateescape")).hexdigest()
    return FileEntry(_relative(place, folder), digest, sum(one.size for one in files))


def _libraries() -> tuple[tuple[str, str], ...]:
    from ..verifying.engines.environment import installed  # brings importlib.metadata, a slow import

    return (("python", platform.python_version()), *installed())


def _now() -> str:
    """In UTC; SOURCE_DATE_EPOCH, the convention of reproducible builds, stands before the clock."""
    epoch = os.environ.get("SOURCE_DATE_EPOCH")
    try:
        when = datetime.now(UTC) if epoch is None else datetime.fromtimestamp(int(epoch), UTC)
    except (ValueError, OverflowError, OSError) as error:
        raise UsageError(f"SOURCE_DATE_EPOCH is {epoch!r}", expected="seconds since 1970") from error
    return when.strftime("%Y-%m-%dT%H:%M:%SZ")


def _relative(file: Path, folder: Path) -> str:
    try:
        return Path(os.path.relpath(file, folder)).as_posix()
    except ValueError:  # another drive of Windows
        return file.resolve().as_posix()


def _check(certificate: Certificate, path: Path) -> None:
    """What the types cannot say."""
    entries: Sequence[FileEntry] = (*certificate.sources, *certificate.output)
    if not certificate.output or not all(
        re.fullmatch("[0-9a-f]{64}", e.sha256) and e.size >= 0 and "\0" not in e.path for e in entries
    ):
        raise Malformed("a file in it has no path, SHA-256 or size", where=path, expected=_EXPECTED)
    if any(Path(e.path).name != e.path or e.path in ("", ".", "..") for e in certificate.output):
        raise Malformed("its output is not named by plain file names", where=path, expected=_EXPECTED)
    evidence = certificate.verification
    if evidence is not None and any(math.isnan(p.noise) and p.passed for p in evidence.providers):
        raise Malformed("a provider passed without a figure", where=path, expected=_EXPECTED)
