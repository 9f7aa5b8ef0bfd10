"""Between pictures, (H, W, C) with 1, 3 or 4 channels, and networks, (B, channels, H, W)."""

import torch
import torch.nn.functional as F
from torch import Tensor


def without_nan(picture: Tensor) -> Tensor:
    """(H, W, C), H and W at least 1, with 0 for each NaN; the very same tensor if it has none.

    Infinity, which counts as 0 or 1 like any other value outside [0, 1], becomes that in the copy.
    """
    if not picture.amax().isnan():  # NaN is the maximum of all that it is among; `isnan` takes ten times as long
        return picture
    return picture.nan_to_num(nan=0.0, posinf=1.0, neginf=0.0)


def to_network(picture: Tensor, channels: int, device: torch.device, dtype: torch.dtype) -> Tensor:
    """A picture as a batch: (H, W, 1 or 3) -> (1, 3, H, W), or (1 or 3, 1, H, W) for a one-channel network.

    Grey becomes RGB, where the network wants that. Clamped to [0, 1], contiguous (Macs fail on views).
    """
    colors = picture.to(device=device, dtype=dtype).permute(2, 0, 1).clamp(0, 1)  # (1 or 3, H, W)
    batch = colors.unsqueeze(1) if channels == 1 else colors.expand(3, -1, -1).unsqueeze(0)
    return batch.contiguous()


def from_network(batch: Tensor, grey: bool) -> Tensor:
    """The network's answer as a picture: (1, 3, h, w) or (1 or 3, 1, h, w) -> (h, w, 3), or (h, w, 1) if `grey`."""
    picture = batch.flatten(0, 1).permute(1, 2, 0)  # (h, w, 1 or 3)
    return picture.mean(dim=-1, keepdim=True) if grey else picture


def resize(picture: Tensor, size: tuple[int, int]) -> Tensor:
    """(H, W, C) -> (h, w, C) by an antialiased bicubic filter, clamped to [0, 1].

    In fp32; on the picture's device, or on the CPU where the device's own filter cannot do it.
    """
    if picture.shape[:2] == size:
        return picture
    if size[1] == 1 < size[0]:  # PyTorch's filter repeats the first row of a result that is one pixel wide
        return resize(picture.transpose(0, 1), (size[1], size[0])).transpose(0, 1)
    reduction = max(picture.shape[0] / size[0], picture.shape[1] / size[1])
    device = picture.device if picture.is_cuda and reduction <= MOST_ON_CUDA else torch.device("cpu")
    batch = picture.permute(2, 0, 1).unsqueeze(0).to(device, torch.float32)  # (1, C, H, W)
    batch = F.interpolate(batch, size=size, mode="bicubic", antialias=True, align_corners=False)
    return batch.squeeze(0).permute(1, 2, 0).clamp_(0, 1).to(picture)


MOST_ON_CUDA = 32
"""By this factor CUDA's filter certainly reduces a picture; it refuses somewhat above 40."""


RESIZE_TAKES = 3
"""Memory of `resize` and its input, in parts of the input in fp32."""
