"""How far a run is: two short lines of text for the user."""

from typing import NamedTuple

from torch import Tensor


class Status(NamedTuple):
    """The state of a run after a frame. `str` makes two short lines of it."""

    done: int
    """Number of finished frames."""
    total: int
    """Number of all frames; where the container does not say it, an estimate."""
    skipped: int
    """Number of frames that an earlier run had finished."""
    seconds: float
    """Time since this run began."""
    reused: float
    """Share of the work that reused pixels saved in this run, 0 to 1."""
    picture: Tensor
    """The frame, (H', W', 3) in [0, 1]."""

    @property
    def fps(self) -> float:
        """Frames a second, in this run."""
        return (self.done - self.skipped) / max(self.seconds, 1e-9)

    @property
    def seconds_left(self) -> float:
        return max(0, self.total - self.done) / self.fps

    def __str__(self) -> str:
        total = max(self.total, self.done)
        return (
            f"Frame {self.done} of {total}, {_duration(self.seconds_left)} left\n"
            f"{self.fps:.3g} frames/s, {self.reused:.0%} reused"
        )


def _duration(seconds: float) -> str:
    """Like "1 h 05 min", "3 min 20 s" or "12 s"."""
    whole = round(seconds)
    if whole >= 3600:
        return f"{whole // 3600} h {whole % 3600 // 60:02} min"
    return f"{whole // 60} min {whole % 60:02} s" if whole >= 60 else f"{whole} s"
