"""Is a file still what its certificate says? Hashes, every folded weight derived again from the sources, and
every place where the model differs from them proved again; the certified model is not run.

    audit(certificate, model, sources)  -> Checks: "fault" for what contradicts the certificate, "note" for
                                        what could not be looked at

Rule 1: hashes come first and cover every bit of every file. What fails there is read only to say where it
        differs, if it can be read.
Rule 2: the sources are read and folded again with the certificate's options, in float64; each weight must
        come out bit for bit, or, where another library's sums end in another last digit, within one rounding
        of its type.
Rule 3: what differs is proved where it stands, on generic values in float64; one run of the sources, at the
        smallest sizes that work, says what shapes they have. What cannot be derived is a note.
Rule 4: what stands in a certificate is a claim: its paths are opened only where the file has the size that it
        names.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from ..errors import BnfoldError, Unreadable, UsageError, reason
from ..files import discovery
from ..ir.difference import beyond_rounding, difference, same_bytes
from ..ir.graph import ir, label, nodes, source_text
from ..pipeline import compare, pipeline
from ..pipeline.own_format import aligned, read_pair
from ..results.certificate import Certificate, FileEntry
from ..results.comparison import Check
from ..results.options import ReadOptions
from ..results.pair_formats import asked
from ..results.plan import Loaded
from .certificate import read, sha256

LARGEST_PROVED = 1 << 28  # bytes of a model beyond which a run in float64 takes minutes


def audit(path: Path, model: Path, sources: Sequence[Path] = ()) -> list[Check]:
    """Hold a model, and its sources where they are known, against a certificate. Without `sources` the paths
    in the certificate are tried. Raises UsageError for files too many, Unreadable for one that is not there,
    and what `certificate.read` raises."""
    certificate = read(path)
    here = path.parent  # the certificate names files from where it lies
    asked = certificate.read.with_mean_files(lambda file: os.fspath(here / file))
    certificate = replace(certificate, read=asked)
    sources = _given(certificate, sources)
    for file in (model, *sources):
        if not file.exists():
            raise Unreadable("cannot be read (no such file or directory)", where=file)
    found = [Check("certificate", "ok", f"bnfold {certificate.version}, {certificate.made}")]
    found += _output(certificate, model)
    found += _recalibrated(certificate)
    inputs, notes = _sources(certificate, path.parent, sources)
    found += notes
    if all(found) and inputs:
        found += _derived(certificate, model, inputs)
        found += _proved(certificate, model, inputs)
    elif not all(notes):
        found.append(Check("weights", "note", "not derived again: the sources are not the certified ones"))
    elif inputs:
        found.append(_where_it_differs(certificate, model, inputs))
    return found


def _given(certificate: Certificate, sources: Sequence[Path]) -> Sequence[Path]:
    """The sources that the user names; a network alone brings the weights of its name along, as everywhere.
    Raises UsageError for too few or too many."""
    wanted = 2 if certificate.weights_apart else 1
    if len(sources) == 1 < wanted and (weights := discovery.beside(os.fspath(sources[0]))):
        return (*sources, Path(weights))
    if sources and len(sources) != wanted:
        raise UsageError(
            f"there are {len(sources)} source files",
            expected="the network and its weights" if wanted == 2 else "the network alone",
        )
    return sources


def _output(certificate: Certificate, model: Path) -> Iterator[Check]:
    for file, entry in zip(_outputs(certificate, model), certificate.output, strict=True):
        yield _hash("output", file, entry)


def _outputs(certificate: Certificate, model: Path) -> list[Path]:
    """Where the certified files are now: the model, and the others beside it. The weights of a pair under
    another name are those of that name, if there are any: they are what every program reads with it."""
    first, *others = certificate.output
    files = [model.parent / entry.path for entry in others]
    if _is_pair(certificate) and model.name != Path(first.path).name:
        weights = discovery.beside(os.fspath(model))
        files[:1] = [Path(weights)] if weights else files[:1]
    return [model, *files]


def _sources(certificate: Certificate, folder: Path, given: Sequence[Path]) -> tuple[list[Path], list[Check]]:
    """(the network and its weights, where they are all there; what was found of every source file)"""
    if not certificate.sources:
        return [], [Check("sources", "note", "the certificate names none")]
    apart = 2 if certificate.weights_apart else 1
    named = certificate.sources[:apart]
    files = list(given) or [folder / entry.path for entry in named]
    absent = [file for file in files if not file.is_file()]
    if absent and not given:
        return [], [
            Check(
                "sources",
                "note",
                f"{absent[0]} is not there, so no weight was derived again; give the sources to do so",
            )
        ]
    rest = certificate.sources[apart:]  # data files of an ONNX source, in its folder
    home = os.path.dirname(named[0].path)  # noqa: PTH120 - paths of the certificate, which may lead up
    files += [files[0].parent / os.path.relpath(entry.path, home) for entry in rest]
    return files[:apart], [
        _hash("source", file, entry) for file, entry in zip(files, (*named, *rest), strict=False)
    ]


def _recalibrated(certificate: Certificate) -> Iterator[Check]:
    """That it is no fold of the sources alone, and what nobody derived again."""
    found = certificate.recalibrated
    if found is not None:
        yield Check(
            "statistics",
            "note",
            f"{found.note}; the audit does not check that {found.inputs:,} inputs have these statistics",
        )


def _hash(what: str, file: Path, entry: FileEntry) -> Check:
    """The size first: a claim of a certificate makes nobody read a terabyte."""
    try:
        size = file.stat().st_size
        if size != entry.size and file.is_file():
            return Check(what, "fault", f"{file}: {size:,} bytes, {entry.size:,} were certified")
        same = sha256(file) == entry.sha256
    except OSError as error:
        return Check(what, "fault", f"{file}: cannot be read ({reason(error)})")
    except BnfoldError as error:
        return Check(what, "fault", str(error))
    return Check(
        what,
        "ok" if same else "fault",
        f"{file}" if same else f"{file}: changed since it was certified (SHA-256 differs)",
    )


def _derived(certificate: Certificate, model: Path, inputs: list[Path]) -> Iterator[Check]:
    """Every weight, from the sources."""
    mine, theirs = _folded_again(certificate, inputs), _certified(certificate, model).model
    weights = _Weights(_readers(theirs))
    if other := (aligned if _is_pair(certificate) else difference)(mine, theirs, weights.same):
        yield Check("graph", "fault", f"{model}: what the sources give differs in {other}")
    else:
        yield Check("graph", "ok", "the sources give the same graph")
    yield from weights.checks(model)


def _proved(certificate: Certificate, model: Path, inputs: list[Path]) -> Iterator[Check]:
    """Every obligation, from the sources."""
    if certificate.unchanged:
        return
    if sum(entry.size for entry in certificate.output) > LARGEST_PROVED:
        yield Check(
            "obligations", "note", "not derived again: the model is too large to be run in float64 here"
        )
        return
    output = _certified(certificate, model)
    if _is_pair(certificate):  # so that the same values have the same names
        aligned(_folded_again(certificate, inputs), output.model, lambda mine, theirs: True)
    found = compare.proof(
        _source(certificate, inputs),
        output,
        freeze_initializers=certificate.fold.freeze_initializers or certificate.read.freeze_initializers,
    )
    if isinstance(found, str):
        yield Check("obligations", "note", f"not derived again: {found}")
        return
    for wrong in found.refuted:
        yield Check(
            "obligations", "fault", f"{model}: '{wrong.value}' is not what the sources give: {wrong.reason}"
        )
    if found.refuted:
        return
    count = found.count("proved")
    if opened := [o for o in found.obligations if o.verdict == "open"]:
        reason = f"'{opened[0].value}' cannot be run here ({opened[0].reason})"
        yield Check(
            "obligations", "note", f"{count} places where the models differ proved again, but {reason}"
        )
    else:
        yield Check(
            "obligations", "ok", f"{count} places where the models differ proved again from the sources"
        )


def _source(certificate: Certificate, inputs: list[Path]) -> Loaded:
    weights = inputs[1] if len(inputs) > 1 else None
    loaded = pipeline.load(inputs[0], weights, certificate.read, pair=_is_pair(certificate))
    if certificate.recalibrated is None:
        return loaded
    return pipeline.with_statistics(loaded, certificate.recalibrated.statistics)


def _is_pair(certificate: Certificate) -> bool:
    """Is the output text and weights, in the source's own format?"""
    return asked(Path(certificate.output[0].path)) is not None


def _certified(certificate: Certificate, model: Path) -> Loaded:
    """The output, as it is now."""
    if not _is_pair(certificate) or len(certificate.output) < 2:
        return pipeline.load(model, None, ReadOptions())
    weights = _outputs(certificate, model)[1]
    return read_pair(model, weights, certificate.format, certificate.dialect, certificate.read)


def _where_it_differs(certificate: Certificate, model: Path, inputs: list[Path]) -> Check:
    """The file is not the certified one: which weight, which node?"""
    try:
        wrong = [check for check in _derived(certificate, model, inputs) if not check]
    except BnfoldError as error:
        return Check("weights", "note", f"not derived again: {error}")
    return (
        wrong[0]
        if wrong
        else Check(
            "weights",
            "note",
            "every weight and node is the one that the sources give; only other bytes changed",
        )
    )


def _folded_again(certificate: Certificate, inputs: list[Path]) -> ir.Model:
    loaded = _source(certificate, inputs)
    if certificate.recalibrated is not None and certificate.recalibrated.alone:
        return loaded.model
    taken_back = certificate.fold.withdrawn + tuple(
        (kept.node, kept.reason) for kept in certificate.withdrawn
    )
    options = replace(certificate.fold, withdrawn=taken_back)
    model, plan = pipeline.fold_model(loaded.model, options, pair=loaded.pair)
    return model if plan.changes else loaded.model


def _readers(model: ir.Model) -> dict[int, str]:
    """id of a tensor -> the node that reads it and where that came from, in words."""
    return {
        id(value.const_value): f" of node '{label(node)}' ({source_text(node)})"
        for node in nodes(model)
        for value in node.inputs
        if value is not None and value.const_value is not None
    }


class _Weights:
    """Counts tensors as `difference` meets them; a tensor of other numbers is remembered, not called a
    difference of the graphs."""

    def __init__(self, readers: dict[int, str]) -> None:
        self.readers = readers
        self.count = self.rounded = 0
        self.wrong: list[str] = []

    def same(self, mine: ir.TensorProtocol | None, theirs: ir.TensorProtocol | None) -> bool:
        """Of one type and shape? Whether the numbers agree is for `checks`."""
        self.count += 1
        if same_bytes(mine, theirs):
            return True
        if (
            mine is None
            or theirs is None
            or mine.dtype != theirs.dtype
            or mine.shape.numpy() != theirs.shape.numpy()
        ):
            return False
        off = beyond_rounding(mine, theirs)
        if off:
            reader = self.readers.get(id(theirs), "")
            self.wrong.append(f"{off:,} of {mine.size:,} values of '{theirs.name or mine.name}'{reader}")
        else:
            self.rounded += 1
        return True

    def checks(self, model: Path) -> Iterator[Check]:
        """One for every tensor that is wrong, or one for all."""
        yield from (
            Check("weights", "fault", f"{model}: {what} are not what the sources give") for what in self.wrong
        )
        if not self.wrong:
            rounded = f", {self.rounded} of them within one rounding" if self.rounded else ""
            yield Check("weights", "ok", f"{self.count} derived again from the sources{rounded}")
