"""Files that get their names together: all of them or none, whatever ends the run on the way."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from bnfold.errors import WriteError
from bnfold.files import journal
from bnfold.files.atomic import Stage, place


def staged(folder: Path) -> tuple[Stage, list[tuple[Path, Path]]]:
    """A stage with two finished files for `a` and `b`."""
    stage = Stage(place(folder / "a"))
    moves = []
    for name in "ab":
        stage.path(name).write_text(f"new {name}")
        moves.append((stage.path(name), folder / name))
    return stage, moves


def contents(folder: Path) -> dict[str, str]:
    return {file.name: file.read_text() for file in sorted(folder.iterdir()) if file.is_file()}


def hidden(folder: Path) -> list[Path]:
    return [path for path in folder.iterdir() if path.name.endswith(".tmp")]


@pytest.mark.parametrize("there", ["", "a", "b", "ab"])
def test_both_get_their_names(tmp_path, there):
    for name in there:
        (tmp_path / name).write_text(f"old {name}")
    stage, moves = staged(tmp_path)
    with stage:
        stage.commit_together(moves)
    assert contents(tmp_path) == {"a": "new a", "b": "new b"}
    assert not hidden(tmp_path)


@pytest.mark.parametrize("done", [0, 1, 2])
def test_what_is_decided_is_finished_by_the_next_run(tmp_path, done):
    """The run died behind its decision, with some of the names given."""
    stage, moves = staged(tmp_path)
    journal.write(stage.folder, moves)
    for finished, name in moves[:done]:
        finished.replace(name)
    os.close(stage._lock)
    Stage(place(tmp_path / "a")).close()
    assert contents(tmp_path) == {"a": "new a", "b": "new b"}
    assert not hidden(tmp_path)


def test_what_is_not_decided_is_swept_away(tmp_path):
    stage, _ = staged(tmp_path)
    (stage.folder / f"{journal.NAME}.draft").write_text("[")
    os.close(stage._lock)
    Stage(place(tmp_path / "a")).close()
    assert contents(tmp_path) == {}
    assert not hidden(tmp_path)


@pytest.mark.parametrize("there", [True, False])
def test_a_name_that_cannot_be_given_takes_the_others_back(tmp_path, monkeypatch, there):
    if there:
        (tmp_path / "a").write_text("old a")
    stage, moves = staged(tmp_path)
    finish = journal.finish

    def failing(folder: Path) -> None:
        moves[0][0].replace(moves[0][1])
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(journal, "finish", failing)
    with pytest.raises(WriteError, match="input/output error"):
        stage.commit_together(moves)
    monkeypatch.setattr(journal, "finish", finish)
    stage.close()
    assert contents(tmp_path) == ({"a": "old a"} if there else {})
    assert not hidden(tmp_path)


def test_a_target_that_cannot_be_written_is_refused_first(tmp_path):
    stage, moves = staged(tmp_path)
    (tmp_path / "b").mkdir()
    with stage, pytest.raises(WriteError, match="is a folder"):
        stage.commit_together(moves)
    assert contents(tmp_path) == {}


def test_a_note_in_a_folder_that_others_may_write_to_is_not_obeyed(tmp_path):
    stage, moves = staged(tmp_path)
    journal.write(stage.folder, moves)
    stage.folder.chmod(0o777)
    journal.finish(stage.folder)
    assert contents(tmp_path) == {}
    stage.folder.chmod(0o700)
    journal.finish(stage.folder)
    stage.close()
    assert contents(tmp_path) == {"a": "new a", "b": "new b"}
