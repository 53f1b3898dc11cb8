"""The run of random graphs itself: a crash is a finding, and nothing else is lost with it."""

from __future__ import annotations

import os
from multiprocessing.connection import Connection
from pathlib import Path

import pytest

from ..random_graphs.tally import Places, Tally, judged_apart


def crash_at_seven_and_before_eight(
    sender: Connection, places: Places, end: int, only: str, folder: Path | None
) -> None:
    tally, (reached, ran) = Tally(folder), places
    while reached.value < end:
        if reached.value == 8:
            os._exit(12)
        ran.value = reached.value
        if reached.value == 7:
            os._exit(11)
        tally.graphs += 1
        reached.value += 1
    sender.send(tally)


def test_a_crash_is_a_finding_and_the_run_goes_on(capsys: pytest.CaptureFixture[str]) -> None:
    tally = Tally()
    seed = 5
    while seed < 10:
        seed = judged_apart(tally, seed, 10, "", crash_at_seven_and_before_eight)
    assert (seed, tally.graphs, tally.unrun, tally.findings["crash"]) == (10, 5, 1, 1)
    said = capsys.readouterr().out
    assert "== crash, seed 7: the process ended with 11\n   --seed 7 -n 1" in said
    assert "the runtime crashed on it before it was folded, seed 8: the process ended with 12" in said
