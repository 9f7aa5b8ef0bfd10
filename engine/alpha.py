"""Transparent pictures: what the network sees where nothing is to be seen, and alpha at the new size."""

import torch
import torch.nn.functional as F
from torch import Tensor

ALPHA_MODES = ("filter", "model")
"""How alpha is enlarged: by the filter of any resize, or by the network, as a grey picture: sharper, and slower."""


def is_constant(alpha: Tensor) -> bool:
    """Whether all pixels of (H, W, 1) are the same: nothing to compute then."""
    return torch.equal(alpha, alpha[:1, :1].expand_as(alpha))


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
