"""Which groups leave: those that nothing blocks, less those that a layer cannot do without.

    at least one       every value keeps a channel, the one with the largest scale
    grouped            a grouped convolution loses whole groups, or as many channels in every group

Both only ever put groups back, so that the search ends.
"""

from __future__ import annotations

from dataclasses import field

import numpy as np

from ..records import dataclass
from .groups import Channels, Ids, Mask, Reason
from .trace import Grouped, Trace

LAST = "one channel of a layer has to stay"


@dataclass
class Selection:
    """The groups that leave, and why others stay."""

    roots: np.ndarray
    leaves: Mask  # by root
    score: np.ndarray  # by root: the largest scale of its batch norms
    reasons: dict[int, Reason] = field(default_factory=dict)

    def gone(self, ids: Ids) -> Mask:
        """Which of these entries leave."""
        return np.asarray(self.leaves[self.roots[ids]])

    def kept(self, channels: Channels) -> Mask:
        """Which of a value's channels stay."""
        return ~self.gone(channels.ids)

    def reason(self, entry: int) -> Reason | None:
        """Why the group of an entry stays, where anything but being alive is the reason."""
        return self.reasons.get(int(self.roots[entry]))

    def put_back(self, entries: Ids, count: int, reason: Reason) -> None:
        """So many groups of these entries stay, those of the largest scale."""
        roots = list(dict.fromkeys(self.roots[entries][self.gone(entries)].tolist()))
        for root in sorted(roots, key=lambda r: (-self.score[r], r))[:count]:
            self.leaves[root] = False
            self.reasons[root] = reason


def select(t: Trace) -> Selection:
    """The largest set of groups that the rules above let leave."""
    roots = t.groups.roots()
    blocked, reasons = t.groups.blocked()
    candidate = t.groups.is_read() & ~blocked
    leaves = np.zeros(len(roots), np.bool_)
    leaves[roots[candidate]] = True
    score = np.zeros(len(roots))
    for norm in t.norms:
        np.maximum.at(score, roots[norm.ids], norm.gamma)
    found = Selection(roots, leaves, score, reasons)
    axes = list({id(c.ids): c.ids for c in t.channels.values() if c.size}.values())
    while True:
        before = int(found.leaves.sum())
        for ids in axes:
            if found.gone(ids).all():
                found.put_back(ids, 1, Reason("stays.last-channel", LAST))
        for one in t.grouped:
            _balance(found, one)
        if int(found.leaves.sum()) == before:
            return found


def _balance(found: Selection, one: Grouped) -> None:
    """Put back what some groups lose beyond the others, unless a group leaves whole."""
    reason = Reason("stays.group", one.words)
    sides = [side for side in (one.ins, one.outs) if side.shape[1]]
    whole = np.all([found.gone(side).all(axis=1) for side in sides], axis=0)
    if len(sides) < 2:
        whole = np.zeros(len(one.outs), np.bool_)  # what it reads stays, so does every group
    if whole.all():
        whole[0] = False
    for side in sides:
        lost = found.gone(side)[~whole].sum(axis=1)
        common = min(int(lost.min()), side.shape[1] - 1)
        for row, count in zip(side[~whole], lost.tolist(), strict=True):
            if count > common:
                found.put_back(row, count - common, reason)
