"""What an unknown word probably stands for, so that a message suggests nothing that means something else."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


def likely(word: str, known: Iterable[str]) -> list[str]:
    """What a word probably stands for, at most one: a known word in other letters, or one with a letter too
    many, too few or out of place (two in a long word). Words that merely look alike mean something else."""
    by_case = {name.lower(): name for name in known}
    if word.lower() in by_case:
        return [by_case[word.lower()]]
    near = difflib.get_close_matches(word.lower(), by_case, 1, cutoff=0.8)
    slips = [name for name in near if _digits(name) == _digits(word)]
    return [by_case[name] for name in slips if _edits(word.lower(), name) <= (1 if len(name) < 8 else 2)]


def _digits(word: str) -> str:
    return "".join(filter(str.isdigit, word))


def _edits(one: str, other: str) -> int:
    """Letters to insert, to delete or to swap with the next, to make one word of the other."""
    before: list[int] = []
    row = list(range(len(other) + 1))
    for i, letter in enumerate(one, 1):
        before, last, row = row, before, [i]
        for j, wanted in enumerate(other, 1):
            same = before[j - 1] if letter == wanted else len(one)
            swap = i > 1 and j > 1 and letter == other[j - 2] and one[i - 2] == wanted
            row.append(min(before[j] + 1, row[j - 1] + 1, same, last[j - 2] + 1 if swap else len(one)))
    return row[-1]
