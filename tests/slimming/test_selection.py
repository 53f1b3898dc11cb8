"""Which groups leave: the least that is put back so that every layer and every group can do without the rest."""

from __future__ import annotations

import numpy as np
import pytest

import bnfold
from bnfold.inference import Shapes
from bnfold.slimming.groups import Groups
from bnfold.slimming.rules import RULES
from bnfold.slimming.selection import select
from bnfold.slimming.trace import Grouped, Norm, Trace, varying

from .nets import behind


def trace(gamma: list[float]) -> Trace:
    """A trace of one value, all of whose channels may leave."""
    model = bnfold.load(behind("y = Identity(r)", {}))
    t = Trace(model, Shapes(model), RULES)
    ids = t.groups.fresh(len(gamma))
    t.groups.read(ids)
    node = next(iter(model.graph))
    t.channels[node.outputs[0]] = varying(1, 4, ids)
    t.norms.append(Norm(node, ids, np.array(gamma), np.ones(len(gamma), np.bool_), 0))
    return t


def test_ties_are_transitive_and_blocks_reach_all() -> None:
    groups = Groups()
    ids = groups.fresh(6)
    groups.tie(ids[:2], ids[2:4])
    groups.tie(ids[2:3], ids[5:6])
    groups.block(ids[5:6], "stays.graph-output")
    stays, reasons = groups.blocked()
    assert stays.tolist() == [True, False, True, False, False, True]
    assert [reason.code for reason in reasons.values()] == ["stays.graph-output"]


def test_the_first_reason_that_is_none_of_life_is_given() -> None:
    groups = Groups()
    ids = groups.fresh(2)
    groups.block(ids, "")
    groups.hint(ids, "stays.residual", "words")
    groups.block(ids[:1], "stays.padding", "other words")
    _, reasons = groups.blocked()
    assert [reasons[k].code for k in (0, 1)] == ["stays.padding", "stays.residual"]
    assert groups.alive().tolist() == [True, True]


def test_what_nothing_reads_stays_without_a_word() -> None:
    t = trace([0, 0])
    ids = t.groups.fresh(1)
    assert select(t).gone(ids).tolist() == [False]


def test_the_channel_of_the_largest_scale_is_the_last() -> None:
    t = trace([0.1, 0.3, 0.2])
    found = select(t)
    assert found.gone(t.norms[0].ids).tolist() == [True, False, True]
    reason = found.reason(1)
    assert reason is not None
    assert reason.code == "stays.last-channel"


@pytest.mark.parametrize(
    ("dead", "gone"),
    [
        ([1, 1, 0, 1, 0, 0], [0, 1, 0, 1, 0, 0]),  # of groups of three: one of each
        ([1, 1, 1, 1, 0, 0], [0, 0, 1, 1, 0, 0]),
        ([1, 1, 0, 0, 0, 0], [0, 0, 0, 0, 0, 0]),
        ([1, 0, 1, 0, 1, 1], [1, 0, 1, 0, 1, 1]),
    ],
)
def test_groups_lose_as_many_each(dead: list[int], gone: list[int]) -> None:
    t = trace([0.3, 0.2, 0.1, 0.3, 0.2, 0.1])
    ids = t.norms[0].ids
    t.groups.block(ids[np.array(dead) == 0], "")
    outs = t.groups.fresh(2)
    t.grouped.append(Grouped(ids.reshape(2, 3), outs.reshape(2, 1), "words"))
    assert select(t).gone(ids).astype(int).tolist() == gone


def test_a_group_may_leave_whole() -> None:
    t = trace([0.1] * 4)
    ids, outs = t.norms[0].ids, t.groups.fresh(4)
    t.groups.read(outs)
    for entries in (ids, outs):
        t.groups.block(entries[2:], "")
    t.grouped.append(Grouped(ids.reshape(2, 2), outs.reshape(2, 2), "words"))
    found = select(t)
    assert found.gone(ids).tolist() == [True, True, False, False]
    assert found.gone(outs).tolist() == [True, True, False, False]
