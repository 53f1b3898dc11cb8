"""Statistics of batch norms, estimated again from real inputs: which norms there are, the passes that measure
what they work on, exact moments, and what changed."""

from .estimation import recalibrate
from .norms import statistics_of, with_statistics

__all__ = ["recalibrate", "statistics_of", "with_statistics"]
