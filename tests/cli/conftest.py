"""The command line in this process, as its tests call it."""

from __future__ import annotations

import signal
from collections.abc import Callable

import pytest

from bnfold.cli.main import run


class Ran:
    def __init__(self, code: int, out: str, err: str) -> None:
        self.code, self.out, self.err = code, out, err
        self.last = err.strip().splitlines()[-1] if err.strip() else ""


@pytest.fixture
def bnfold(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Callable[..., Ran]:
    monkeypatch.setattr(
        signal, "signal", lambda *_: None
    )  # the test runner's handlers are not ours to replace

    def call(*arguments: object) -> Ran:
        capfd.readouterr()
        code = run([str(a) for a in arguments])
        return Ran(code, *capfd.readouterr())

    return call
