"""Small networks of other architectures, as spandrel builds them, with seeded random weights."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from spandrel import MAIN_REGISTRY, ImageModelDescriptor
from torch import nn


def _network(module: str, name: str | None = None, **config: Any) -> Callable[[], nn.Module]:
    return lambda: getattr(importlib.import_module(f"spandrel.architectures.{module}"), name or module)(**config)


_swin = partial(_network, embed_dim=16, depths=[2, 2], num_heads=[2, 2], mlp_ratio=2)
_rcan = partial(_network, "RCAN", scale=2, n_resgroups=1, n_resblocks=1, n_feats=16, reduction=4)
_fdat = partial(_network, "FDAT", embed_dim=16, num_groups=1, depth_per_group=2, num_heads=2, scale=2, mid_dim=16)
_rrdb = partial(_network, "ESRGAN", num_blocks=1, num_filters=16)

NETWORKS: dict[str, Callable[[], nn.Module]] = {
    "ATD": _network(
        "ATD",
        embed_dim=24,
        depths=(2,),
        num_heads=(2,),
        window_size=8,
        category_size=16,
        num_tokens=8,
        reducted_dim=4,
        upscale=2,
        upsampler="pixelshuffledirect",
    ),
    "CRAFT": _network("CRAFT", embed_dim=16, depths=[2], num_heads=[2]),
    "DCTLSA": _network("DCTLSA", nf=20, upscale=2),
    "DITN": _network("DITN", ITL_blocks=1, SAL_blocks=1, UFONE_blocks=1, upscale=2),
    "DRCT": _network("DRCT", embed_dim=16, depths=(2,), num_heads=(2,), upscale=2, upsampler="pixelshuffle", gc=8),
    "DnCNN": _network("DnCNN", in_nc=3, out_nc=3, nc=8, nb=4),
    "ESRGAN+": _rrdb(plus=True),
    "ESRGAN+ behind a pixel-unshuffle": _rrdb(plus=True, in_nc=12, shuffle_factor=2),
    "FDAT": _fdat(),
    "FDAT behind a pixel-unshuffle": _fdat(unshuffle_mod=True),
    "FFTformer": _network("FFTformer", dim=8, num_blocks=[1, 1, 1], num_refinement_blocks=1),
    "HAT": _network(
        "HAT", embed_dim=24, depths=(2,), num_heads=(2,), window_size=16, squeeze_factor=4, upscale=2, num_feat=16
    ),
    "HVICIDNet": _network("HVICIDNet", channels=[8, 8, 16, 16], heads=[1, 1, 1, 1]),
    "KBNet": _network("KBNet", "KBNet_s", width=8, middle_blk_num=1, enc_blk_nums=[1, 1], dec_blk_nums=[1, 1]),
    "MoESR": _network("MoESR", dim=16, n_blocks=1, n_block=1, scale=2, upsample_dim=16),
    "MoSR": _network("MoSR", dim=16, n_block=2, upscale=2),
    "NAFNet": _network("NAFNet", width=8, middle_blk_num=1, enc_blk_nums=[1, 1], dec_blk_nums=[1, 1]),
    "OmniSR": _network("OmniSR", num_feat=16, block_num=1, res_num=1, up_scale=2),
    "PLKSR": _network("PLKSR", dim=16, n_blocks=2, upscaling_factor=2),
    "RCAN": _rcan(),
    "RCAN behind a pixel-unshuffle": _rcan(unshuffle_mod=True),
    "RGT": _network("RGT", embed_dim=24, depth=[2], num_heads=[2], mlp_ratio=2.0, upscale=2),
    "RealCUGAN": _network("RealCUGAN", "UpCunet2x"),
    "RealCUGAN, fast": _network("RealCUGAN", "UpCunet2x_fast"),
    "RealPLKSR": _network("PLKSR", "RealPLKSR", dim=16, n_blocks=2, upscaling_factor=2),
    "RetinexFormer": _network("RetinexFormer", n_feat=8, stage=1, num_blocks=[1, 1, 1]),
    "SAFMN": _network("SAFMN", dim=16, n_blocks=2, upscaling_factor=2),
    "SAFMNBCIE": _network("SAFMNBCIE", dim=16, n_blocks=2, num_layers=1),
    "SCUNet": _network("SCUNet", config=[1] * 7, dim=64),
    "SPAN": _network("SPAN", num_in_ch=3, num_out_ch=3, feature_channels=16, upscale=2),
    "SeemoRe": _network("SeemoRe", scale=2, num_layers=1, embedding_dim=16),
    "SwiftSRGAN": _network("SwiftSRGAN", num_channels=16, num_blocks=2, upscale_factor=2),
    "Swin2SR": _swin("Swin2SR", window_size=8, upscale=2, upsampler="pixelshuffle"),
    "SwinIR": _swin("SwinIR", window_size=8, upscale=2, upsampler="pixelshuffle"),
    "SwinIR, windows of 7": _swin("SwinIR", img_size=126, window_size=7),
    "Uformer": _network("Uformer", embed_dim=8, depths=[1] * 9, num_heads=[1] * 9),
}


def network(name: str) -> nn.Module:
    """One of `NETWORKS`, in eval mode, the same at each call."""
    torch.manual_seed(0)
    return NETWORKS[name]().eval()


def descriptor(name: str) -> ImageModelDescriptor[nn.Module]:
    """The descriptor that another loader, like core ComfyUI's, would return for it."""
    loaded = MAIN_REGISTRY.load(network(name).state_dict())
    assert isinstance(loaded, ImageModelDescriptor)
    loaded.model.eval()
    return loaded
