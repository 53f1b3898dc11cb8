"""Several runs to one target at once: at every moment the target is one run's complete result, and no run
disturbs another."""

from __future__ import annotations

import errno
import threading
from pathlib import Path

import onnx
import pytest

import bnfold as api
from bnfold import writing
from bnfold.errors import BnfoldError

from .running import Ended, bnfold, contents, ended, large, sentence, started, whole_pair


def whole_file(model: Path) -> tuple[bytes, ...]:
    return (model.read_bytes(),)


@pytest.mark.parametrize("options", [(), ("--external-data",)], ids=["one file", "with data"])
@pytest.mark.parametrize("count", [2, 8])
def test_different_models(tmp_path: Path, count: int, options: tuple[str, ...]) -> None:
    """A reader that looks all the time sees nothing but complete results."""
    state = whole_pair if options else whole_file
    results, sources = (
        set(),
        [large(tmp_path / f"net{number}.onnx", 1, seed=number) for number in range(count)],
    )
    (tmp_path / "alone").mkdir()
    (tmp_path / "out").mkdir()
    for source in sources:
        api.fold_file(source, out=tmp_path / "alone" / "out.onnx", verify=False, external_data=bool(options))
        results.add(state(tmp_path / "alone" / "out.onnx"))
    assert len(results) == count
    out = tmp_path / "out" / "out.onnx"
    runs = [started("fold", source, "-o", out, "--no-verify", "-q", *options) for source in sources]
    seen: list[tuple[bytes, ...]] = []
    while any(run.poll() is None for run in runs):
        if out.exists():
            seen.append(state(out))
    for run in runs:
        assert sentence(ended(run), 0).startswith("bnfold: PASS")
    assert set(seen) | {state(out)} <= results
    assert not [name for name in contents(out.parent) if name.endswith(".tmp")]


@pytest.mark.parametrize("options", [(), ("--external-data",)], ids=["one file", "with data"])
def test_the_same_model(tmp_path: Path, options: tuple[str, ...]) -> None:
    """The data has one name for all; the reports, too, are one run's."""
    source, out = large(tmp_path / "net.onnx", 1), tmp_path / "out.onnx"
    runs = [
        started(
            "fold",
            source,
            "-o",
            out,
            "--json",
            tmp_path / "r.json",
            "--report",
            tmp_path / "r.html",
            *options,
        )
        for _ in range(4)
    ]
    for run in runs:
        sentence(ended(run), 0)
    assert len(contents(tmp_path)) == 4 + bool(options)
    (whole_pair if options else whole_file)(out)
    onnx.checker.check_model(str(out))
    assert bnfold("report", tmp_path / "r.json").code == 0


def test_in_place(tmp_path: Path) -> None:
    """Each reads what the others replace: a run folds what it read, or says that its source changed."""
    source = large(tmp_path / "net.onnx", 1)
    runs = [ended(run) for run in [started("fold", source, "-o", source, "-q") for _ in range(4)]]
    for run in runs:
        assert said_well(run), run.err
    assert 0 in {run.code for run in runs}
    assert contents(tmp_path).keys() == {"net.onnx"}
    assert bnfold("check", source).code == 0


def said_well(run: Ended) -> bool:
    return "PASS" in sentence(run, 0) if not run.code else "changed while it was read" in sentence(run, 3)


def test_a_run_that_gives_up_takes_nothing_from_one_that_goes_on(tmp_path: Path) -> None:
    """Both make the same data; the first to have it does not finish."""
    model = api.load(large(tmp_path / "net.onnx", 1))
    out = tmp_path / "out.onnx"
    with (
        writing.write(model, out, external_data=True),
        writing.write(model, out, external_data=True) as second,
    ):
        second.commit()
    whole_pair(tmp_path / "out.onnx")


def test_without_hard_links(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As on FAT: data is put in place by a rename, also over the same data of an earlier run."""

    def no_links(self: Path, target: Path) -> None:
        raise PermissionError(errno.EPERM, "Operation not permitted")

    model = api.load(large(tmp_path / "net.onnx", 1))
    monkeypatch.setattr(Path, "hardlink_to", no_links)
    for _ in range(2):
        api.save(model, tmp_path / "out.onnx", external_data=True)
        whole_pair(tmp_path / "out.onnx")
    assert len(contents(tmp_path)) == 3


def test_threads(tmp_path: Path) -> None:
    """In one process, too."""
    model = api.load(large(tmp_path / "net.onnx", 1))
    failed: list[BnfoldError] = []

    def save() -> None:
        try:
            api.save(model, tmp_path / "out.onnx", external_data=True)
        except BnfoldError as error:
            failed.append(error)

    threads = [threading.Thread(target=save) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failed
    whole_pair(tmp_path / "out.onnx")
    assert len(contents(tmp_path)) == 3
