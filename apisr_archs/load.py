"""Loads an UPSCALE_MODEL from a path or the name of a known model."""

import os
from collections.abc import Iterable, Mapping
from pathlib import Path

import torch
from spandrel import MAIN_REGISTRY, ImageModelDescriptor, ModelDescriptor, UnsupportedModelError
from torch import nn

from .device import usable_device
from .errors import CorruptWeights, NotEnoughMemory, UnsupportedWeights, is_out_of_memory, printable_errors
from .files.checkpoint import StateDict, read_state_dict
from .files.formats import download_again
from .files.locate import locate
from .foreign import facts_of, is_misread_grl, requirements_of, without_stripe_shift
from .model import UpscaleModel
from .networks.parts.finite import is_finite
from .networks.registry import (
    NETWORKS,
    filled,
    find_behind_prefix,
    find_own,
    known_to_spandrel,
    levels,
    matches,
    some_of,
)
from .text import shown

DTYPES: Mapping[str, torch.dtype] = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}

LONGEST_REASON = 200
"""Maximum number of characters shown of another library's error."""
LOOKALIKES = (
    ("a LoRA", "loras", ("lora_up", "lora_down", "lora_A", "lora_B", "lokr_", "hada_")),
    ("a diffusion checkpoint", "checkpoints", ("model.diffusion_model.",)),
    ("a diffusion model", "diffusion_models", ("double_blocks.", "transformer_blocks.", "input_blocks.")),
    ("a ControlNet", "controlnet", ("control_model.", "controlnet_cond_embedding.")),
    ("a VAE", "vae", ("decoder.mid", "encoder.down", "decoder.up_blocks")),
    ("a text encoder", "text_encoders", ("text_model.", "transformer.text_model", "token_embedding")),
)
"""Other kinds of models that end up in this folder: name, the right folder, and parts of their keys."""


@printable_errors
def load_model(
    path_or_name: str | os.PathLike[str],
    precision: str = "fp32",
    device: str | torch.device = "cpu",
    *,
    download: bool = False,
) -> UpscaleModel:
    """Load any image-to-image network that this pack or spandrel supports.

    Args:
        path_or_name: the path of a .pth, .pt, .ckpt or .safetensors file; or the name of a known model, like
            "4x_APISR_RRDB_GAN_generator.pth", or "realesr-animevideov3" for the bundled one. A name is looked for in
            the current folder, then in the pack's own folder models.
        precision: "fp32", "fp16" or "bf16", for weights and computation; images are cast on input and output.
        device: where the model is placed: "cpu", "cuda", "cuda:1" or another torch device.
        download: download and verify a known model that is missing, into the folder of its path, or for a bare name
            into the pack's folder models. The environment variable APISR_OFFLINE=1 forbids that.

    Raises:
        MissingWeights: the file does not exist or may not be read, or no known model has that name.
        DownloadFailed: the download failed; no partial file is kept.
        CorruptWeights, UnsafeWeights: see `read_state_dict`. CorruptWeights also if weights are not finite.
        UnsupportedWeights: the network is unknown, needs more than one image as input, is neither RGB nor gray, is made
            for faces, or cannot run in `precision`.
        NotEnoughMemory: the weights do not fit into memory.
        ValueError: `precision` is none of the three, `path_or_name` is not a path, or torch cannot use `device` here.
    """
    dtype, device = _dtype(precision), usable_device(device)  # checked first: downloading and loading take long
    path = locate(path_or_name, download=download)
    try:
        # ComfyUI runs nodes in inference mode; tensors created in it cannot be used with autograd outside
        with torch.inference_mode(False), torch.no_grad():
            model = _read_model(path)
            model.name = path.name
            _refuse_precision(path, model, precision)
            if model.dtype != dtype:
                set_precision(model, precision)
        return model if device.type == "cpu" else model.to(device)  # .to() walks through all modules, which is slow
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        raise NotEnoughMemory(
            f"Out of memory while loading {path}, a file of {path.stat().st_size / 2**20:.0f} MB. Close other programs "
            "or choose a smaller model."
        ) from error


def set_precision(model: UpscaleModel, precision: str) -> None:
    """Cast a model to one of `DTYPES`. Call it before a memory manager takes the model over."""
    with torch.inference_mode(False), torch.no_grad():
        model.to(_dtype(precision))


def _dtype(precision: str) -> torch.dtype:
    if not isinstance(precision, str) or precision not in DTYPES:
        given = repr(precision) if isinstance(precision, str) else f"of the type {type(precision).__name__}"
        raise ValueError(f"precision is {given}; expected one of {', '.join(DTYPES)}.")
    return DTYPES[precision]


def _refuse_precision(path: Path, model: UpscaleModel, precision: str) -> None:
    supported = {"fp32": True, "fp16": model.supports_half, "bf16": model.supports_bfloat16}
    if not supported[precision]:
        others = " or ".join(name for name, is_supported in supported.items() if is_supported)
        raise UnsupportedWeights(f"{path}: {model.architecture.name} cannot run in {precision}. Use {others}.")


def _read_model(path: Path) -> UpscaleModel:
    weights = read_state_dict(path)
    try:
        own = find_own(weights)
        if own is None and known_to_spandrel(weights) is None:
            weights = dict(find_behind_prefix(weights))
            own = find_own(weights)
    except UnsupportedWeights as error:
        raise UnsupportedWeights(f"{path} {error}") from None
    model = filled(own) if own else _adopt(_from_spandrel(path, weights))
    channels = model.input_channels, model.output_channels
    if channels not in ((1, 1), (3, 3)):
        raise UnsupportedWeights(
            f"{path}: this {model.architecture.name} model turns {channels[0]} channels into {channels[1]}; expected 3 "
            "into 3 (RGB) or 1 into 1 (grey). Choose another model."
        )
    _refuse_nan(path, model.model)
    return model


def _refuse_nan(path: Path, network: nn.Module) -> None:
    """Refuse weights that are not finite: one ruins every picture. The check takes less time than reading the file."""
    bad = [name for name, weight in network.named_parameters() if weight.numel() and not is_finite(weight)]
    if bad:
        raise CorruptWeights(
            f"{path} holds weights that are not numbers or infinite (NaN, inf), in {some_of(bad)}. It is damaged, or "
            f"its training failed. {download_again(path)}"
        )


def _from_spandrel(path: Path, weights: StateDict) -> ImageModelDescriptor[nn.Module]:
    """Load weights that are not ours through spandrel. Refuses whatever is not an upscale model."""
    descriptor = _known_to_spandrel(path, weights)
    closest = next(matches(weights), None)
    if closest and closest.unexpected and len(descriptor.model.state_dict()) <= len(closest.weights):
        raise UnsupportedWeights(_unknown_message(path, weights))  # spandrel has silently dropped them
    if not isinstance(descriptor, ImageModelDescriptor):
        raise UnsupportedWeights(
            f"{path} is {descriptor.architecture.name}, which does not turn one image into another: it needs more than "
            "an image. Choose an upscale model."
        )
    if descriptor.purpose == "FaceSR":
        raise UnsupportedWeights(
            f"{path} is {descriptor.architecture.name}, which restores a single face, cut out and aligned. It cannot "
            "upscale pictures. Choose an upscale model."
        )
    if descriptor.scale < 1:
        raise UnsupportedWeights(
            f"{path}: this {descriptor.architecture.name} model makes pictures smaller, not larger. Choose "
            "another model."
        )
    return descriptor


def _known_to_spandrel(path: Path, weights: StateDict) -> ModelDescriptor:
    try:
        return MAIN_REGISTRY.load(dict(weights))
    except UnsupportedModelError:
        raise UnsupportedWeights(_unknown_message(path, weights)) from None  # spandrel's message has no details
    except (RuntimeError, LookupError, ValueError, ArithmeticError, TypeError, AssertionError) as error:
        if is_out_of_memory(error):
            raise
        # an architecture claimed the weights, but they did not fit
        raise UnsupportedWeights(_unknown_message(path, weights, _reason(weights, error))) from None


def _reason(weights: StateDict, error: Exception) -> str:
    """Why spandrel could not load weights that it detected, to append to a message. torch's text may be very long."""
    text = " ".join(str(error).split()) or "no reason given"
    text = text if len(text) <= LONGEST_REASON else f"{text[:LONGEST_REASON]}..."
    return f" (It looks like {known_to_spandrel(weights)}, but spandrel cannot load it: {type(error).__name__}: {text})"


def _adopt(descriptor: ImageModelDescriptor[nn.Module]) -> UpscaleModel:
    """Wrap spandrel's descriptor in an `UpscaleModel`, which casts images itself and has `facts`."""
    network = without_stripe_shift(descriptor.model) if is_misread_grl(descriptor) else descriptor.model
    return UpscaleModel(
        network.eval().requires_grad_(False),
        network.state_dict(),
        architecture=descriptor.architecture,
        purpose=descriptor.purpose,
        tags=descriptor.tags,
        supports_half=descriptor.supports_half,
        supports_bfloat16=descriptor.supports_bfloat16,
        scale=descriptor.scale,
        input_channels=descriptor.input_channels,
        output_channels=descriptor.output_channels,
        size_requirements=requirements_of(descriptor),
        tiling=descriptor.tiling,
        call_fn=descriptor._call_fn,  # not the descriptor, so that a copy of the model runs the copy's own network
        facts=facts_of(descriptor),
    )


def _unknown_message(path: Path, weights: StateDict, reason: str = "") -> str:
    """Error text for weights that nothing supports. `reason` is appended if there is no better explanation."""
    looks_like = _looks_like(weights)
    if looks_like:
        kind, folder = looks_like
        return f"{path} is no upscale model: it looks like {kind}, which belongs in the folder models/{folder}."
    for prefix, level in levels(weights):
        closest = next((match for match in matches(level) if not match.is_whole), None)
        if closest is not None:
            behind = f" behind the prefix {shown(prefix)}" if prefix else ""
            return (
                f"{path} looks like {closest.network.id}{behind}, but {closest.differences()}. Get the file again, or "
                "choose another one."
            )
    ours = ", ".join(network.id for network in NETWORKS)
    return (
        f"{path} is not a supported upscale model: its {len(weights)} weights ({some_of(sorted(weights))}) fit none "
        f"of APISR's networks ({ours}) and none that spandrel knows. Choose another file.{reason}"
    )


def _looks_like(weights: Iterable[str]) -> tuple[str, str] | None:
    names = list(weights)
    for kind, folder, parts in LOOKALIKES:
        if any(part in name for name in names for part in parts):
            return kind, folder
    return None
