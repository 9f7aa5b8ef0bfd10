"""Conversion between pictures, (H, W, C) with 1, 3 or 4 channels, and network batches, (B, channels, H, W)."""

import torch
import torch.nn.functional as F
from torch import Tensor


def without_nan(picture: Tensor) -> Tensor:
    """Replace NaN by 0 in (H, W, C), H and W at least 1. Returns the same tensor if it has none, else a copy.

    In the copy infinity becomes 0 or 1, to which all values outside [0, 1] are clamped later.
    """
    if not picture.amax().isnan():  # `amax` returns NaN if there is one; `isnan` takes ten times as long
        return picture
    return picture.nan_to_num(nan=0.0, posinf=1.0, neginf=0.0)


def to_network(picture: Tensor, channels: int, device: torch.device, dtype: torch.dtype) -> Tensor:
    """A picture as a batch: (H, W, 1 or 3) -> (1, 3, H, W), or (1 or 3, 1, H, W) for a one-channel network.

    Gray is expanded to RGB if the network takes RGB. The result is clamped to [0, 1] and contiguous (MPS fails on
    views).
    """
    colors = picture.to(device=device, dtype=dtype).permute(2, 0, 1).clamp(0, 1)  # (1 or 3, H, W)
    batch = colors.unsqueeze(1) if channels == 1 else colors.expand(3, -1, -1).unsqueeze(0)
    return batch.contiguous()


def from_network(batch: Tensor, gray: bool) -> Tensor:
    """The network's output as a picture: (1, 3, h, w) or (1 or 3, 1, h, w) -> (h, w, 3), or (h, w, 1) if `gray`."""
    picture = batch.flatten(0, 1).permute(1, 2, 0)  # (h, w, 1 or 3)
    return picture.mean(dim=-1, keepdim=True) if gray else picture


def resize(picture: Tensor, size: tuple[int, int]) -> Tensor:
    """Resize (H, W, C) -> (h, w, C) with an antialiased bicubic filter, clamped to [0, 1].

    Computed in fp32, on the picture's device, or on the CPU if that device's filter does not support it.
    """
    if picture.shape[:2] == size:
        return picture
    if size[1] == 1 < size[0]:  # if the result is one pixel wide, PyTorch's filter repeats its first row
        return resize(picture.transpose(0, 1), (size[1], size[0])).transpose(0, 1)
    reduction = max(picture.shape[0] / size[0], picture.shape[1] / size[1])
    device = picture.device if picture.is_cuda and reduction <= MOST_ON_CUDA else torch.device("cpu")
    batch = picture.permute(2, 0, 1).unsqueeze(0).to(device, torch.float32)  # (1, C, H, W)
    batch = F.interpolate(batch, size=size, mode="bicubic", antialias=True, align_corners=False)
    return batch.squeeze(0).permute(1, 2, 0).clamp_(0, 1).to(picture)


MOST_ON_CUDA = 32
"""Largest reduction factor for which CUDA's filter is used; it fails somewhere above 40."""


RESIZE_TAKES = 3
"""Memory taken by `resize` and its input together, as a multiple of the input's size in fp32."""
