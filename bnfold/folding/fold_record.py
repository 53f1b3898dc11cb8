"""What is known of a folded node until names are final; then its row of the plan."""

from __future__ import annotations

import numpy as np

from ..ir.graph import label
from ..records import dataclass
from ..results.plan import Folded
from .push import Push
from .recognise import Reading


@dataclass
class Record:
    """One folded node: its place in the graph, what it was, and the push that took it out."""

    place: int
    node: str
    op: str
    source: str
    reading: Reading
    push: Push

    def folded(self) -> Folded:
        """Its row of the plan; the operators that hold it have their final names by now."""
        scale, shift = self.reading.map.scale, self.reading.map.shift
        holders = [hold.linear.holder.node for hold in self.push.holds]
        return Folded(
            node=self.node,
            op=self.op,
            source=self.source,
            into=tuple(dict.fromkeys(label(holder) for holder in holders)),
            values=tuple(dict.fromkeys(holder.outputs[0].name or "" for holder in holders)),
            scale=(float(scale.min()), float(scale.max())),
            shift=(float(shift.min()), float(shift.max())),
            channels=int(scale.size),
            dead=int(scale.size - np.count_nonzero(scale)),
            smallest_variance=self.reading.smallest_variance,
            via=tuple(self.push.via),
            direction=self.push.direction,
        )
