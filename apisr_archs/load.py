"""From a path, or the name of a known model, to an UPSCALE_MODEL."""

import os
from collections.abc import Iterable, Mapping
from pathlib import Path

import torch
from spandrel import MAIN_REGISTRY, ImageModelDescriptor, ModelDescriptor, UnsupportedModelError
from torch import nn

from .errors import NotEnoughMemory, UnsupportedWeights, is_out_of_memory, printable_errors
from .files.checkpoint import StateDict, read_state_dict
from .files.locate import locate
from .foreign import facts_of, is_misread_grl, requirements_of, without_stripe_shift
from .model import UpscaleModel
from .networks.registry import filled, find_own, matches, some_of

DTYPES: Mapping[str, torch.dtype] = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}

LOOKALIKES = (
    ("a LoRA", "loras", ("lora_up", "lora_down", "lora_A", "lora_B", "lokr_", "hada_")),
    ("a diffusion checkpoint", "checkpoints", ("model.diffusion_model.",)),
    ("a diffusion model", "diffusion_models", ("double_blocks.", "transformer_blocks.", "input_blocks.")),
    ("a ControlNet", "controlnet", ("control_model.", "controlnet_cond_embedding.")),
    ("a VAE", "vae", ("decoder.mid", "encoder.down", "decoder.up_blocks")),
    ("a text encoder", "text_encoders", ("text_model.", "transformer.text_model", "token_embedding")),
)
"""What people put into the wrong folder: its name, its folder, and parts of its keys."""


@printable_errors
def load_model(
    path_or_name: str | os.PathLike[str],
    precision: str = "fp32",
    device: str | torch.device = "cpu",
    *,
    download: bool = False,
) -> UpscaleModel:
    """Load any image-to-image network that we or spandrel know.

    Args:
        path_or_name: the path of a .pth, .pt, .ckpt or .safetensors file; or the name of a known model, like
            "4x_APISR_RRDB_GAN_generator.pth", or "realesr-animevideov3" for the bundled one. A name is looked for in
            the current folder, then in the pack's own folder models.
        precision: "fp32", "fp16" or "bf16", of the weights and the arithmetic; images are cast on the way in and out.
        device: where the model is put: "cpu", "cuda", "cuda:1" or another device of torch.
        download: fetch a known model that is missing, verified, into the folder of its path, or for a name into the
            pack's folder models. The environment variable APISR_OFFLINE=1 forbids that.

    Raises:
        MissingWeights: there is no such file, or none that may be read, or no known model of that name.
        DownloadFailed: nothing could be fetched; no part of it is kept.
        CorruptWeights, UnsafeWeights: see `read_state_dict`.
        UnsupportedWeights: the file's network is unknown, takes more than a picture or works on more than RGB or grey,
            is made for faces, or cannot run in `precision`.
        NotEnoughMemory: there is none for the weights.
        ValueError: `precision` is none of the three, `path_or_name` is no path, or torch cannot use `device` here.
    """
    if not isinstance(precision, str) or precision not in DTYPES:
        raise ValueError(f"precision is {precision!r}; expected one of {', '.join(DTYPES)}.")
    device = usable_device(device)  # before a download or seconds of loading
    path = locate(path_or_name, download=download)
    try:
        # ComfyUI runs nodes in inference mode; weights made in it could never be used outside
        with torch.inference_mode(False), torch.no_grad():
            model = _read_model(path)
            _refuse_precision(path, model, precision)
            if model.dtype != DTYPES[precision]:
                set_precision(model, precision)
        return model if device.type == "cpu" else model.to(device)  # a walk through all modules, which takes its time
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        raise NotEnoughMemory(
            f"Out of memory while loading {path}, a file of {path.stat().st_size / 2**20:.0f} MB. Close other programs "
            "or choose a smaller model."
        ) from error


def usable_device(device: str | torch.device, name: str = "device") -> torch.device:
    """`device` as torch's own. Raises ValueError, which names the argument, unless torch can use it on this machine."""
    try:
        found = torch.device(device)
    except (RuntimeError, TypeError) as error:
        hint = ' Nvidia and AMD GPUs are "cuda" in torch.' if str(device).lower() in ("gpu", "nvidia", "rocm") else ""
        raise ValueError(
            f'{name} is {device!r}; expected a device of torch, like "cpu", "cuda" or "cuda:1".{hint}'
        ) from error
    try:
        torch.empty(0, device=found)
    except (RuntimeError, AssertionError, NotImplementedError) as error:  # AssertionError: built without CUDA
        if is_out_of_memory(error):
            return found  # it is there, but full: what needs memory on it fails with the numbers
        reason = str(error).partition("\n")[0].partition(". ")[0]
        raise ValueError(f'{name} is {device!r}, which torch cannot use here ({reason}). Use "cpu".') from error
    return found


def set_precision(model: UpscaleModel, precision: str) -> None:
    """Cast a model to one of `DTYPES`, before a memory manager takes it over."""
    with torch.inference_mode(False), torch.no_grad():
        model.to(DTYPES[precision])


def _refuse_precision(path: Path, model: UpscaleModel, precision: str) -> None:
    supported = {"fp32": True, "fp16": model.supports_half, "bf16": model.supports_bfloat16}
    if not supported[precision]:
        others = " or ".join(name for name, is_supported in supported.items() if is_supported)
        raise UnsupportedWeights(f"{path}: {model.architecture.name} cannot run in {precision}. Use {others}.")


def _read_model(path: Path) -> UpscaleModel:
    weights = read_state_dict(path)
    try:
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
    return model


def _from_spandrel(path: Path, weights: StateDict) -> ImageModelDescriptor[nn.Module]:
    """What spandrel makes of weights that are not ours, if it is an upscale model."""
    descriptor = _known_to_spandrel(path, weights)
    closest = next(matches(weights), None)
    if closest and closest.unexpected and len(descriptor.model.state_dict()) <= len(closest.weights):
        raise UnsupportedWeights(_unknown_message(path, weights))  # spandrel has left them out without a word
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
    return descriptor


def _known_to_spandrel(path: Path, weights: StateDict) -> ModelDescriptor:
    try:
        return MAIN_REGISTRY.load(dict(weights))
    except UnsupportedModelError:
        raise UnsupportedWeights(_unknown_message(path, weights)) from None  # spandrel's error says nothing
    except (RuntimeError, LookupError, ValueError, ArithmeticError, TypeError, AssertionError) as error:
        if is_out_of_memory(error):
            raise
        # an architecture took the weights for its own, and they did not fit; torch's text has a line for each of them
        reason = str(error).splitlines()[0] if str(error) else "no reason given"
        raise UnsupportedWeights(f"{_unknown_message(path, weights)} ({type(error).__name__}: {reason})") from None


def _adopt(descriptor: ImageModelDescriptor[nn.Module]) -> UpscaleModel:
    """spandrel's own descriptor, as one that casts by itself and knows its facts."""
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
        call_fn=descriptor._call_fn,  # not the descriptor itself: a copy of the model must run the copy's network
        facts=facts_of(descriptor),
    )


def _unknown_message(path: Path, weights: StateDict) -> str:
    looks_like = _looks_like(weights)
    if looks_like:
        kind, folder = looks_like
        return f"{path} is no upscale model: it looks like {kind}, which belongs in the folder models/{folder}."
    closest = next((match for match in matches(weights) if not match.is_whole), None)
    if closest is not None:
        return (
            f"{path} looks like {closest.network.id}, but {closest.differences()}. Get the file again, or choose "
            "another one."
        )
    return (
        f"{path} is not a supported upscale model: its {len(weights)} weights ({some_of(sorted(weights))}) fit none "
        "of APISR's networks (GRL, RRDB, DAT, Compact) and none that spandrel knows. Choose another file."
    )


def _looks_like(weights: Iterable[str]) -> tuple[str, str] | None:
    names = list(weights)
    for kind, folder, parts in LOOKALIKES:
        if any(part in name for name in names for part in parts):
            return kind, folder
    return None
