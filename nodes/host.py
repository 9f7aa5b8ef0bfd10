"""Gives the engine ComfyUI's memory manager, progress and interrupt as plain values and callables."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import chain
from typing import Any

import comfy.model_patcher
import comfy.utils
import torch
from comfy import model_management
from PIL import Image
from torch import nn

from .. import apisr_archs, engine
from ..apisr_archs import NotEnoughMemory
from ..apisr_archs.text import get_logger
from ..engine import Job, devices

log = get_logger(__name__)

PROGRESS_STEPS = 1000
"""Resolution of the progress bar; tiles are too coarse on a CPU."""
PREVIEW_SIDE = 512
"""Longest side of previews, in pixels."""
COMFORTABLE_SIDE = 512
"""Other models are unloaded to make room for tiles up to this side length; larger tiles only use free memory."""


def device_options() -> list[str]:
    return model_management.get_gpu_device_options()


def pick_device(option: str) -> torch.device:
    """The device for an entry of `device_options`; the default device if this machine lacks that GPU."""
    return model_management.resolve_gpu_device_option(str(option)) or model_management.get_torch_device()


def is_good_at_fp16(device: torch.device) -> bool:
    """Whether fp16 is fast on the device. (bf16 is never chosen: on these networks its error is ten times larger.)"""
    return model_management.should_use_fp16(device)


def hand_over(model: Any, device: torch.device) -> None:
    """Register a model with the memory manager. Its dtype must not change afterwards."""
    # looked up at call time: ComfyUI may replace the class at startup (dynamic memory management).
    # The manager's offload device may be the GPU, where a model for the CPU must not go.
    offload = device if device.type == "cpu" else model_management.unet_offload_device()
    model.patcher = comfy.model_patcher.CoreModelPatcher(model.model, load_device=device, offload_device=offload)


ResultsOf = Callable[[torch.device], tuple[torch.dtype, torch.device]]


def _intermediate(_: torch.device) -> tuple[torch.dtype, torch.device]:
    """The dtype and device that ComfyUI uses for images."""
    return model_management.intermediate_dtype(), model_management.intermediate_device()


@contextmanager
def loaded(model: Any, job: Job, results_of: ResultsOf = _intermediate) -> Iterator[engine.Placement]:
    """Load the whole model onto its device while the context is open. Yields where to compute and the memory budget.

    Asks the memory manager for exactly the memory that the job needs.

    Args:
        model: an UPSCALE_MODEL. Models of other packs may lack a patcher and get one.
        job: what will be computed.
        results_of: gives the dtype and the device of the results of a network on a device.
    """
    if getattr(model, "patcher", None) is None:
        if not isinstance(getattr(model, "model", None), nn.Module):
            raise ValueError(f"upscale_model is a {type(model).__name__} without a network. Use what a loader gives.")
        hand_over(model, model_management.get_torch_device())
    device = model.patcher.load_device
    network = model.patcher.model
    dtype, output_device = results_of(device)
    output_bytes = result_bytes(job, device, dtype, output_device)
    needed = needed_bytes(_free(model, device), job, device, dtype, output_device)
    # The networks are small and cannot run partially loaded: buffers and bias tables would be left behind.
    model_management.load_models_gpu([model.patcher], memory_required=needed + output_bytes, force_full_load=True)
    tensors = chain(network.parameters(), network.buffers())
    strays = any(not devices.same_device(tensor.device, device) for tensor in tensors)
    try:
        if strays:  # with --novram the manager does not move weights, even with force_full_load
            network.to(device)
        with model_management.cuda_device_context(device):
            free = _free(model, device) - output_bytes
            # if the job fits, it may use all it asked for; otherwise leave a share to other programs
            budget = needed if needed <= free else int(free * devices.SHARE)
            yield engine.Placement(device, budget, dtype, output_device)
    finally:
        if strays and not model.patcher.loaded_size():  # if loaded, the manager expects them on the device
            network.to(model.patcher.offload_device)


def result_bytes(job: Job, device: torch.device, dtype: torch.dtype, output_device: torch.device) -> int:
    """Memory of the network's device that the results will take: none if they are stored elsewhere."""
    return job.output_bytes(dtype) + job.intermediate_bytes if devices.share_memory(device, output_device) else 0


def needed_bytes(free: int, job: Job, device: torch.device, dtype: torch.dtype, output_device: torch.device) -> int:
    """Memory that the job will ask for beside its results, of `free` bytes."""
    is_shared = devices.share_memory(device, output_device)
    canvas_bytes = job.canvas_bytes if is_shared else 0
    usable = int((free - result_bytes(job, device, dtype, output_device) - canvas_bytes) * devices.SHARE)
    return job.needed(usable, device, output_device, COMFORTABLE_SIDE).total


def _free(model: Any, device: torch.device) -> int:
    """Free bytes on the device without unloading other models."""
    if device.type == "cpu":  # the patcher would also count memory that it could free on the GPU
        return free_memory(device)
    return max(0, model.patcher.get_free_memory(device) - model_management.extra_reserved_memory())


def free_memory(device: torch.device) -> int:
    """Free bytes according to ComfyUI; for RAM, no more than a container's limit allows."""
    free: Any = model_management.get_free_memory(device)
    limit = devices.free_bytes(device) if device.type == "cpu" else None
    return free if limit is None else min(free, limit)


def output_options() -> dict[str, Any]:
    """The dtype and device that ComfyUI uses for images."""
    return {
        "output_dtype": model_management.intermediate_dtype(),
        "output_device": model_management.intermediate_device(),
    }


def require_room(job: Job) -> None:
    """Check before computing that the result fits into the memory where ComfyUI stores images.

    Raises:
        NotEnoughMemory: the result does not fit.
    """
    needed = job.output_bytes(model_management.intermediate_dtype()) + job.canvas_bytes + job.intermediate_bytes
    device = model_management.intermediate_device()
    if device.type != "cpu":  # with --gpu-only: unload other models if needed
        model_management.free_memory(needed, device)
    free = free_memory(device)
    if needed > free:
        height, width = job.size
        raise NotEnoughMemory(
            f"{job.count} x {width}x{height} pixels take {needed / 2**30:.1f} GB of memory; {free / 2**30:.1f} GB "
            "are free. Upscale fewer pictures at a time, ask for a smaller size, or close other programs."
        )


class Bar:
    """The progress bar of the running node, and the small picture below it."""

    def __init__(self) -> None:
        self.bar = comfy.utils.ProgressBar(PROGRESS_STEPS)

    def advance(self, done: float, total: int) -> None:
        """Show how much is done. An `OnTile` of the engine."""
        self.bar.update_absolute(round(PROGRESS_STEPS * done / max(1, total)))

    def picture(self, picture: torch.Tensor) -> None:
        """Show a picture, (H, W, 3) in [0, 1]."""
        step = -(-max(picture.shape[:2]) // PREVIEW_SIDE)
        small = (picture[::step, ::step] * 255).round().to("cpu", torch.uint8).numpy()
        self.bar.update_absolute(self.bar.current, preview=("JPEG", Image.fromarray(small), PREVIEW_SIDE))


def stop_if_interrupted() -> bool:
    """Raises ComfyUI's own exception if the user has pressed Cancel; False otherwise."""
    model_management.throw_exception_if_processing_interrupted()
    return False


def is_out_of_memory(error: BaseException) -> bool:
    return model_management.is_oom(error) or apisr_archs.is_out_of_memory(error)
