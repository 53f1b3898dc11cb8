"""Do two models compute the same? The truth in float64, two engines, one gate, the first value that
differs."""

from __future__ import annotations

from .compare import compare
from .opencv import against_opencv
from .proving import NotDerived, prove
from .selftest import selftest

__all__ = ["NotDerived", "against_opencv", "compare", "prove", "selftest"]
