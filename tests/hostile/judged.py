"""One hostile input through the whole way of `bnfold fold --no-verify`, under the contract of the fuzzer."""

from __future__ import annotations

import signal
from collections.abc import Callable
from pathlib import Path

import bnfold.folding
import bnfold.reading.caffe.net
import bnfold.reading.darknet.reader
import bnfold.reading.onnx.reader
import bnfold.writing  # noqa: F401
from bnfold.errors import BnfoldError
from bnfold.pipeline import pipeline
from bnfold.pipeline.job import Job
from bnfold.results.fold_result import FoldResult
from bnfold.results.options import ReadOptions

from ..fuzz.contract import Case, run

PATIENCE = 60  # seconds of the clock: a process that waits for a pipe uses no processor


class Outcome:
    """What came of it: an error or a result, never both."""

    def __init__(self) -> None:
        self.error: BnfoldError | None = None
        self.result: FoldResult | None = None

    @property
    def sentence(self) -> str:
        """The error's sentence, with its class in front; "" for a result."""
        return f"{type(self.error).__name__} {self.error}" if self.error is not None else ""


def folded(
    folder: Path,
    data: bytes,
    name: str = "net.onnx",
    others: Callable[[Case], Path | None] = lambda case: None,
    weights: int | None = None,
) -> Outcome:
    """Fold a file of this content. `others` puts more files beside it and may name the weights; `weights`
    seeds random ones."""
    outcome = Outcome()

    def read(case: Case) -> None:
        path = case.file(name)
        second = others(case)
        try:
            outcome.result = pipeline.fold_file(
                Job(
                    source=path,
                    weights=second,
                    out=case.target,
                    read=ReadOptions(random_weights=weights),
                    verify=None,
                )
            )
        except BnfoldError as error:
            outcome.error = error
            raise

    judge(read, data, folder)
    return outcome


def judge(read: Callable[[Case], None], data: bytes, folder: Path) -> None:
    """Assert that the contract holds for what `read` does in a folder of its own."""

    def late(number: int, frame: object) -> None:
        raise TimeoutError(f"nothing came of it in {PATIENCE} s")

    inner = folder / "case"
    inner.mkdir()
    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(PATIENCE)
    try:
        found = run(read, data, inner)
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)
    assert found is None, f"{found.key}: {found.text}"
