"""Folding: the algebra, the tables of rules, the plan."""

from .engine import fold

__all__ = ["fold"]
