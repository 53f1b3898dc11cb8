"""Fixtures of the fault tests."""

from .running import disk

__all__ = ["disk"]
