"""Errors that a function for a type of layer raises which a user has taught: his function is to blame."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from ...errors import BnfoldError, UsageError
from .registry import Kind


@contextmanager
def blamed_on_function(function: Callable[..., Any], kind: Kind) -> Iterator[None]:
    """Name the function, and the line of its file, in the error that it raises."""
    try:
        yield
    except BnfoldError:
        raise
    except Exception as error:
        file = function.__code__.co_filename
        lines = [f.lineno for f in traceback.extract_tb(error.__traceback__) if f.filename == file]
        line = lines[-1] if lines else function.__code__.co_firstlineno
        raise UsageError(
            f"the function '{function.__name__}' for layer type '{kind.type}' raised "
            f"{type(error).__name__}: {error}",
            way_out=f"correct it in {file}:{line}",
        ) from error
