"""From a path to an UPSCALE_MODEL."""

from collections.abc import Iterable, Mapping
from pathlib import Path

import torch
from spandrel import ImageModelDescriptor, UnsupportedModelError
from torch import nn

from .checkpoint import StateDict, read_state_dict
from .compiled import Compiled
from .errors import UnsupportedWeights, printable_errors
from .foreign import facts_of
from .model import UpscaleModel
from .registry import load_weights

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
    path: str | Path, precision: str = "fp32", device: str | torch.device = "cpu", *, compiled: bool = False
) -> UpscaleModel:
    """Load any image-to-image network that we or spandrel know.

    Args:
        path: a .pth, .pt, .ckpt or .safetensors file.
        precision: "fp32", "fp16" or "bf16", of the weights and the arithmetic; images are cast on the way in and out.
        device: where the model is put.
        compiled: run the network through torch.compile, which takes a minute or more at the second picture of a size;
            if that does not work, the network runs as it is.

    Raises:
        MissingWeights, CorruptWeights, UnsafeWeights: see `read_state_dict`.
        UnsupportedWeights: the file's network is unknown, takes more than an image, or cannot run in `precision`.
        ValueError: `precision` is none of the three.
    """
    if precision not in DTYPES:
        raise ValueError(f"precision is {precision!r}; expected one of {', '.join(DTYPES)}.")
    # ComfyUI runs nodes in inference mode; weights made in it could never be used outside
    with torch.inference_mode(False), torch.no_grad():
        descriptor = _recognise(Path(path))
        model = descriptor if isinstance(descriptor, UpscaleModel) else _adopt(descriptor)
    supported = {"fp16": model.supports_half, "bf16": model.supports_bfloat16}
    if not supported.get(precision, True):
        raise UnsupportedWeights(f"{path}: {model.architecture.name} cannot run in {precision}. Use fp32.")
    if model.dtype != DTYPES[precision]:
        set_precision(model, precision)
    model.compiled = Compiled() if compiled else None
    device = torch.device(device)
    return model if device.type == "cpu" else model.to(device)  # a walk through all modules, which takes its time


def set_precision(model: UpscaleModel, precision: str) -> None:
    """Cast a model to one of `DTYPES`, before a memory manager takes it over."""
    with torch.inference_mode(False), torch.no_grad():
        model.to(DTYPES[precision])


def _recognise(path: Path) -> ImageModelDescriptor[nn.Module]:
    weights = read_state_dict(path)
    try:
        descriptor = load_weights(weights)
    except UnsupportedModelError:
        raise UnsupportedWeights(_unknown_message(path, weights)) from None  # spandrel's error says nothing
    except (RuntimeError, LookupError, ValueError, ArithmeticError, TypeError, AssertionError) as error:
        # an architecture took the weights for its own, and they did not fit
        raise UnsupportedWeights(f"{_unknown_message(path, weights)} ({type(error).__name__}: {error})") from error
    if not isinstance(descriptor, ImageModelDescriptor):
        raise UnsupportedWeights(
            f"{path} is {descriptor.architecture.name}, which does not turn one image into another: it needs more than "
            "an image. Choose an upscale model."
        )
    return descriptor


def _adopt(descriptor: ImageModelDescriptor[nn.Module]) -> UpscaleModel:
    """spandrel's own descriptor, as one that casts by itself and knows its facts."""
    return UpscaleModel(
        descriptor.model.eval().requires_grad_(False),
        descriptor.model.state_dict(),
        architecture=descriptor.architecture,
        purpose=descriptor.purpose,
        tags=descriptor.tags,
        supports_half=descriptor.supports_half,
        supports_bfloat16=descriptor.supports_bfloat16,
        scale=descriptor.scale,
        input_channels=descriptor.input_channels,
        output_channels=descriptor.output_channels,
        size_requirements=descriptor.size_requirements,
        tiling=descriptor.tiling,
        call_fn=descriptor._call_fn,  # not the descriptor itself: a copy of the model must run the copy's network
        facts=facts_of(descriptor),
    )


def _unknown_message(path: Path, weights: StateDict) -> str:
    looks_like = _looks_like(weights)
    if looks_like:
        kind, folder = looks_like
        return f"{path} is no upscale model: it looks like {kind}, which belongs in the folder models/{folder}."
    some = ", ".join(sorted(weights)[:3])
    return (
        f"{path} is no upscale model that we know: its {len(weights)} weights ({some}, ...) fit none of APISR's "
        "networks (GRL, RRDB, DAT, Compact) and none that spandrel knows. Choose another file."
    )


def _looks_like(weights: Iterable[str]) -> tuple[str, str] | None:
    names = list(weights)
    for kind, folder, parts in LOOKALIKES:
        if any(part in name for name in names for part in parts):
            return kind, folder
    return None
