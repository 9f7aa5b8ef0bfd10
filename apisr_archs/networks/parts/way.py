"""How a network is run: everything beside its input."""

from dataclasses import dataclass

from .means import Means


@dataclass(frozen=True)
class Way:
    """Networks ignore what does not concern them."""

    rows: int | None = None
    """Input rows of a strip, a multiple of `Strips.multiple`; None for all rows at once."""
    means: Means = Means()  # noqa: RUF009 - it has no state
    """Where networks that look at the whole picture get their means from."""


WHOLE = Way()
"""All at once, and all of the picture."""
