"""Transparent pictures: colors under fully transparent pixels, and the alpha channel at the output size."""

from math import ceil

import torch
import torch.nn.functional as F
from torch import Tensor

from . import arguments, pixels

ALPHA_MODES = ("model", "filter")
"""How alpha is enlarged: by the network, as a gray picture; or by the resize filter, which is softer and faster."""


def with_mask(images: Tensor, mask: Tensor) -> Tensor:
    """(B, H, W, C) and a mask -> (B, H, W, 4), with alpha = 1 - mask. The alpha of RGBA pictures is replaced.

    Args:
        images: as returned by `arguments.pictures`.
        mask: see `arguments.masks`; one mask for all pictures, or one for each. ComfyUI's convention: 1 is transparent.
            Resized to the pictures, even if its aspect ratio differs. Values are clamped to [0, 1]; NaN becomes 0.

    Raises:
        ValueError: `mask` is not a mask, or the number of masks is neither 1 nor that of the pictures.
    """
    mask = arguments.masks(mask)
    count, height, width, channels = images.shape
    if len(mask) not in (1, count):
        raise ValueError(
            f"mask has {len(mask)} masks, and there are {count} pictures; expected one mask, or one for each picture."
        )
    if not images.numel():  # an empty batch may have any size
        return images.new_empty((count, height, width, 4))
    mask = mask.to(images.device, torch.float32).nan_to_num(nan=0.0, posinf=1.0, neginf=0.0).clamp(0, 1)
    if mask.shape[1:] != (height, width):
        mask = torch.stack([pixels.resize(each.unsqueeze(-1), (height, width)).squeeze(-1) for each in mask])
        mask = (mask * 65535).round() / 65535  # remove the filter's rounding errors in areas of exactly 0 or 1
    opacity = (1 - mask).to(images.dtype).unsqueeze(-1).expand(count, -1, -1, -1)
    colors = images[..., :3].expand(-1, -1, -1, 3) if channels == 1 else images[..., :3]
    return torch.cat((colors, opacity), dim=-1)


def is_constant(alpha: Tensor) -> bool:
    """Whether all pixels of (H, W, 1) are equal, so that alpha need not be enlarged."""
    return torch.equal(alpha, alpha[:1, :1].expand_as(alpha))


def restore_extremes(enlarged: Tensor, source: Tensor) -> None:
    """Set `enlarged`, (h, w, 1), to exactly 0 or 1, in place, where the neighborhood in `source`, (H, W, 1), is.

    A network or a filter is off by up to a few steps of 1/255, and a background would show through opaque areas.
    """
    size = enlarged.shape[:2]
    radius = [2 * max(1, ceil(old / new)) for old, new in zip(source.shape[:2], size, strict=True)]
    rows, columns = (
        (torch.arange(new, device=source.device) * old).div(new, rounding_mode="floor")
        for old, new in zip(source.shape[:2], size, strict=True)
    )
    for value in (0, 1):
        others = (source != value).permute(2, 0, 1).unsqueeze(0).float()  # (1, 1, H, W)
        nearby = F.max_pool2d(others, (2 * radius[0] + 1, 1), 1, (radius[0], 0))
        nearby = F.max_pool2d(nearby, (1, 2 * radius[1] + 1), 1, (0, radius[1]))
        is_uniform = nearby[0, 0].eq(0)[:, columns]  # (H, w)
        enlarged.masked_fill_(is_uniform[rows].unsqueeze(-1).to(enlarged.device), value)


def extended_colors(picture: Tensor) -> Tensor:
    """The colors of (H, W, 4), with those under alpha 0 replaced by colors from the nearest visible edge: (H, W, 3).

    The colors under alpha 0 are arbitrary, usually black; the network would draw them into the edges as a dark rim.
    Colors must not be NaN.
    """
    visible = (picture[..., 3:] > 0).permute(2, 0, 1).unsqueeze(0)  # (1, 1, H, W)
    if visible.all() or not visible.any():  # nothing to fill, or nothing to fill it from
        return picture[..., :3]
    # clamped first: a value far outside [0, 1] must not dominate the mean with its neighbors
    colors = picture[..., :3].clamp(0, 1).permute(2, 0, 1).unsqueeze(0).float()  # (1, 3, H, W)
    return _filled(colors, visible).squeeze(0).permute(1, 2, 0).to(picture.dtype)


def _filled(colors: Tensor, visible: Tensor) -> Tensor:
    """(1, 3, H, W) with invisible pixels filled in from half the resolution, recursively.

    This is the pull-push algorithm (Gortler et al. 1996, section 3.4).
    """
    if visible.all():
        return colors
    height, width = colors.shape[-2:]
    bottom, right = height % 2, width % 2
    weights = F.pad(visible.float(), (0, right, 0, bottom))
    weighted = F.pad(colors.masked_fill(~visible, 0), (0, right, 0, bottom))
    weight = F.avg_pool2d(weights, 2)  # (1, 1, ceil(H / 2), ceil(W / 2))
    coarse = F.avg_pool2d(weighted, 2) / weight.clamp_min(0.25)
    coarse = _filled(coarse, weight > 0)
    return torch.where(visible, colors, F.interpolate(coarse, size=(height, width), mode="bilinear"))
