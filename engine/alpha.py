"""Transparent pictures: what the network sees where nothing is to be seen, and alpha at the new size."""

from math import ceil

import torch
import torch.nn.functional as F
from torch import Tensor

from . import arguments, pixels

ALPHA_MODES = ("model", "filter")
"""How alpha is enlarged: by the network, as a grey picture, or by the filter of any resize: softer, and faster."""


def with_mask(images: Tensor, mask: Tensor) -> Tensor:
    """(B, H, W, C) and a mask -> (B, H, W, 4), with alpha = 1 - mask. RGBA pictures lose the alpha that they had.

    Args:
        images: as `arguments.pictures` returns them.
        mask: see `arguments.masks`: one for all pictures, or one for each. ComfyUI's convention: 1 is transparent.
            Resized to the pictures, which may change its shape. Values outside [0, 1] count as 0 or 1, NaN as 0.

    Raises:
        ValueError: it is no mask, or there are neither one nor as many as pictures.
    """
    mask = arguments.masks(mask)
    count, height, width, channels = images.shape
    if len(mask) not in (1, count):
        raise ValueError(
            f"mask has {len(mask)} masks, and there are {count} pictures; expected one mask, or one for each picture."
        )
    if not images.numel():  # a batch without pictures may have any size
        return images.new_empty((count, height, width, 4))
    mask = mask.to(images.device, torch.float32).nan_to_num(nan=0.0, posinf=1.0, neginf=0.0).clamp(0, 1)
    if mask.shape[1:] != (height, width):
        mask = torch.stack([pixels.resize(each.unsqueeze(-1), (height, width)).squeeze(-1) for each in mask])
        mask = (mask * 65535).round() / 65535  # areas of 0 and of 1, which the filter leaves by a rounding error
    opacity = (1 - mask).to(images.dtype).unsqueeze(-1).expand(count, -1, -1, -1)
    colors = images[..., :3].expand(-1, -1, -1, 3) if channels == 1 else images[..., :3]
    return torch.cat((colors, opacity), dim=-1)


def is_constant(alpha: Tensor) -> bool:
    """Whether all pixels of (H, W, 1) are the same: nothing to compute then."""
    return torch.equal(alpha, alpha[:1, :1].expand_as(alpha))


def restore_extremes(enlarged: Tensor, source: Tensor) -> None:
    """Set `enlarged`, (h, w, 1), to exactly 0 or 1, in place, where `source`, (H, W, 1), is that all around.

    A network and a filter miss by up to a few steps of 255, which would let a background through opaque parts.
    """
    size = enlarged.shape[:2]
    reach = [2 * max(1, ceil(before / after)) for before, after in zip(source.shape[:2], size, strict=True)]
    rows, columns = (
        (torch.arange(after, device=source.device) * before).div(after, rounding_mode="floor")
        for before, after in zip(source.shape[:2], size, strict=True)
    )
    for value in (0, 1):
        others = (source != value).permute(2, 0, 1).unsqueeze(0).float()  # (1, 1, H, W)
        near = F.max_pool2d(others, (2 * reach[0] + 1, 1), 1, (reach[0], 0))
        near = F.max_pool2d(near, (1, 2 * reach[1] + 1), 1, (0, reach[1]))
        is_alone = near[0, 0].eq(0)[:, columns]  # (H, w)
        enlarged.masked_fill_(is_alone[rows].unsqueeze(-1).to(enlarged.device), value)


def extended_colors(picture: Tensor) -> Tensor:
    """The colors of (H, W, 4), those under alpha 0 replaced by ones from the nearest edge: (H, W, 3).

    What lies there is anything, mostly black, and a network would draw it into the edge as a dark rim. No color may be
    NaN.
    """
    seen = (picture[..., 3:] > 0).permute(2, 0, 1).unsqueeze(0)  # (1, 1, H, W)
    if seen.all() or not seen.any():  # nothing to fill in, or nothing to fill it in from
        return picture[..., :3]
    # in [0, 1]: a value far outside, which counts as 0 or 1 itself, must not outweigh its neighbours in a mean
    colors = picture[..., :3].clamp(0, 1).permute(2, 0, 1).unsqueeze(0).float()  # (1, 3, H, W)
    return _filled(colors, seen).squeeze(0).permute(1, 2, 0).to(picture.dtype)


def _filled(colors: Tensor, seen: Tensor) -> Tensor:
    """(1, 3, H, W) with what is not seen filled in from half the size: pull-push (Gortler et al. 1996, section 3.4)."""
    if seen.all():
        return colors
    height, width = colors.shape[-2:]
    bottom, right = height % 2, width % 2
    weights = F.pad(seen.float(), (0, right, 0, bottom))
    weighted = F.pad(colors.masked_fill(~seen, 0), (0, right, 0, bottom))
    weight = F.avg_pool2d(weights, 2)  # (1, 1, ceil(H / 2), ceil(W / 2))
    coarse = F.avg_pool2d(weighted, 2) / weight.clamp_min(0.25)
    coarse = _filled(coarse, weight > 0)
    return torch.where(seen, colors, F.interpolate(coarse, size=(height, width), mode="bilinear"))
