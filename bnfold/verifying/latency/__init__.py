"""How long models take, in the runtimes that are installed, with their default optimisations.

runtimes.py  RUNTIMES: one row a runtime, how it loads and runs a model
child.py     one model in one runtime, in a process of its own, run by run on demand
measure.py   two such processes in turn, and what their times say
"""

from .measure import measured

__all__ = ["measured"]
