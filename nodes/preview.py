"""The small picture below a running node, which fills in tile by tile."""

import time

import torch
from torch import Tensor

from ..engine import Place
from .host import PREVIEW_SIDE, Bar

SECONDS_BETWEEN = 0.3
"""Between two previews."""

GROUND = 0.13
"""Brightness behind transparent pictures."""


class Preview:
    """Begins with the picture that goes in; each finished tile is painted over it."""

    def __init__(self, bar: Bar, picture: Tensor, height: int, width: int) -> None:
        """picture: (H, W, C), the first one that goes in. height, width: of the result."""
        scale = PREVIEW_SIDE / max(height, width, PREVIEW_SIDE)
        self.height, self.width = (max(1, round(side * scale)) for side in (height, width))
        self.bar = bar
        self.picture = _reduced(picture, self.height, self.width).clone()
        self.sent = time.monotonic()

    def paint(self, tile: Tensor, place: Place) -> None:
        """An `OnResult` of the engine."""
        top, bottom = round(place.top * self.height), round(place.bottom * self.height)
        left, right = round(place.left * self.width), round(place.right * self.width)
        self.picture = self.picture.to(tile.device)  # painting waits for no GPU
        if top < bottom and left < right:
            self.picture[top:bottom, left:right] = _reduced(tile, bottom - top, right - left)
        if time.monotonic() - self.sent >= SECONDS_BETWEEN:
            self.bar.picture(self.picture.cpu())
            self.sent = time.monotonic()


def _reduced(picture: Tensor, height: int, width: int) -> Tensor:
    """(H, W, C) as (height, width, 3) in [0, 1], on a dark ground. Takes the nearest pixels: it is quick."""
    rows = torch.arange(height, device=picture.device) * len(picture) // height
    columns = torch.arange(width, device=picture.device) * picture.shape[1] // width
    small = picture[rows][:, columns].to(torch.float32).nan_to_num().clamp(0, 1)
    if small.shape[-1] == 4:
        alpha = small[..., 3:]
        return small[..., :3] * alpha + GROUND * (1 - alpha)
    return small[..., :3].expand(-1, -1, 3)
