"""A stand-in for upscale models whose right answer is known: each pixel is enlarged."""

from __future__ import annotations

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
