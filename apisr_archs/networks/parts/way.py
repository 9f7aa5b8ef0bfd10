"""How a network is run: all arguments of `forward` except the input."""

from dataclasses import dataclass

from .means import Means


@dataclass(frozen=True)
class Way:
    """Options for running a network. Networks ignore options that do not apply to them."""

    rows: int | None = None
    """Input rows per strip, a multiple of `Strips.multiple`; None for all rows at once."""
    means: Means = Means()  # noqa: RUF009 - it has no state
    """Provides the means for networks with global statistics."""


WHOLE = Way()
"""The input is the whole picture, and all rows run at once."""
