"""cuDNN's algorithms, chosen by trying them all where a shape comes often enough to pay for that."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

WORTH_FROM = 4
"""Tiles of one shape: what has come so often will come some more times. The trial costs about as much as a few."""


@contextmanager
def tried_out(device: torch.device, runs: int) -> Iterator[None]:
    """For the network's run number `runs` on one shape. The host's own setting is back afterwards.

    Not on AMD's GPUs, whose library compiles what it tries.
    """
    if device.type != "cuda" or torch.version.hip is not None or runs < WORTH_FROM:
        yield
        return
    kept = torch.backends.cudnn.benchmark
    torch.backends.cudnn.benchmark = True
    try:
        yield
    finally:
        torch.backends.cudnn.benchmark = kept
