"""Do two models compute the same? The truth in float64, two engines, one gate, the first value that
differs."""

from __future__ import annotations

from .compare import compare
from .opencv import against_opencv
from .selftest import selftest

__all__ = ["against_opencv", "compare", "selftest"]
