"""Static shapes of values: what is known of them, and what each operator does to them."""

from .rule_context import Dim, Shape
from .shapes import Shapes

__all__ = ["Dim", "Shape", "Shapes"]
