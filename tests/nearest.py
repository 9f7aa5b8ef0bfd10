"""Stand-ins for upscale models whose right answer is known: each pixel, or the mean of those around it, is enlarged."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from apisr_pack.apisr_archs import Facts, Halo
from apisr_pack.apisr_archs.facts import bytes_per_pixel
from torch import Tensor, nn


class Nearest(nn.Module):
    """A network whose right answer is known: it enlarges each pixel."""

    def __init__(self, scale: int) -> None:
        super().__init__()
        self.identity = nn.Identity()
        self.scale = scale
        self.calls: list[torch.Size] = []

    def forward(self, x: Tensor) -> Tensor:
        self.calls.append(x.shape)
        assert x.is_contiguous()
        return F.interpolate(self.identity(x), scale_factor=self.scale, mode="nearest")


class NearestModel:
    """What a stranger's UPSCALE_MODEL may have at the least."""

    def __init__(self, scale: int = 2, channels: int = 3) -> None:
        self.scale = scale
        self.model = Nearest(scale)
        self.input_channels = self.output_channels = channels
        self.facts = Facts(scale, 8, Halo(8, 8), 16, bytes_per_pixel(1000))

    def __call__(self, image: Tensor) -> Tensor:
        return self.model(image)


def enlarged(images: Tensor, scale: int) -> Tensor:
    return images.repeat_interleave(scale, dim=1).repeat_interleave(scale, dim=2)


REACH = 3
"""How far `Blur` sees: nothing more is right, nothing less is enough."""


class Blur(nn.Module):
    """Enlarges the mean of all pixels within reach: each is off if one of them is not as it should be."""

    def forward(self, x: Tensor) -> Tensor:
        blurred = F.avg_pool2d(x, 2 * REACH + 1, stride=1, padding=REACH)
        return F.interpolate(blurred, scale_factor=2)


class BlurModel:
    scale = 2
    facts = Facts(2, 4, Halo(REACH, REACH), 4, bytes_per_pixel(100))

    def __init__(self) -> None:
        self.model = Blur()

    def __call__(self, image: Tensor) -> Tensor:
        return self.model(image)


class Counted:
    """Any model, and how many pixels it was given."""

    def __init__(self, model: Any) -> None:
        self.inner, self.pixels, self.shapes, self.rows = model, 0, [], []

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)

    def __call__(self, image: Tensor, **how: Any) -> Tensor:
        self.shapes.append(tuple(image.shape[-2:]))
        self.rows.append(how.get("rows"))
        self.pixels += image.shape[-2] * image.shape[-1]
        return self.inner(image, **how)
