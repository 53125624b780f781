"""A small C extension."""

from ._native import compiled_for, sum_of_squares

__all__ = ["compiled_for", "sum_of_squares"]
