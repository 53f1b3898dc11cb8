"""Do two models compute the same? The truth in float64, two engines, one gate, the first value that differs."""

from __future__ import annotations

from .compare import compare

__all__ = ["compare"]
