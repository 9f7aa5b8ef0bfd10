"""Overflow, seen at little cost."""

from torch import Tensor


def is_finite(x: Tensor) -> bool:
    """Whether no number of x is NaN or infinite. (`isfinite` makes copies of it: ten times as long.)"""
    return bool(x.amax().isfinite() & x.amin().isfinite())
