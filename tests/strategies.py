"""Hypothesis strategies used in more than one file."""

from __future__ import annotations

from apisr_pack.apisr_archs import Strips
from hypothesis import strategies as st


def row_strips(multiples: list[int], most_halo: int, shares: st.SearchStrategy[float]) -> st.SearchStrategy[Strips]:
    """How a network runs in row strips; about half of them also run the trunk in strips."""
    return st.builds(
        Strips,
        multiple=st.sampled_from(multiples),
        halo=st.integers(0, most_halo),
        redone=st.floats(0, 4),
        trunk=shares,
        kept=shares,
        strip=st.floats(0.01, 1),
        trunk_strip=st.just(0.0) | st.floats(0.01, 2),
    )
