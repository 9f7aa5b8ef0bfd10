"""ComfyUI's memory manager, progress and interrupt, as plain values and callables for the engine."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import chain
from typing import Any

import comfy.model_patcher
import comfy.utils
import torch
from comfy import model_management
from server import PromptServer
from torch import nn

from .. import apisr_archs, engine
from ..apisr_archs import NotEnoughMemory
from ..apisr_archs.text import escaped, get_logger
from ..engine import Job, devices

log = get_logger(__name__)

PROGRESS_STEPS = 1000
"""Resolution of the progress bar; tiles are too coarse on a CPU."""
COMFORTABLE_SIDE = 512
"""Other models may have to leave the GPU for tiles of up to this side; for larger ones only free memory is used."""


def device_options() -> list[str]:
    return model_management.get_gpu_device_options()


def pick_device(option: str) -> torch.device:
    """The device behind an entry of `device_options`; the default one for a GPU that this machine lacks."""
    device = model_management.resolve_gpu_device_option(str(option))
    if device is None and option != "default":
        log.warning("There is no device %r here; using the default one.", option)
    return device or model_management.get_torch_device()


def is_good_at_fp16(device: torch.device) -> bool:
    """Whether fp16 is fast there. (bf16 is never the better choice: on these networks it is ten times less exact.)"""
    return model_management.should_use_fp16(device)


def hand_over(model: Any, device: torch.device) -> None:
    """Put a model in the care of the memory manager. Its dtype must not change afterwards."""
    # looked up now: ComfyUI replaces the class at start when it manages memory dynamically
    # (the manager's offload device may be the GPU, which is no place for what was meant to run on the CPU)
    offload = device if device.type == "cpu" else model_management.unet_offload_device()
    model.patcher = comfy.model_patcher.CoreModelPatcher(model.model, load_device=device, offload_device=offload)


@contextmanager
def loaded(model: Any, job: Job) -> Iterator[engine.Placement]:
    """The model, wholly on its device, for as long as this lasts; yields where to compute and what may be taken.

    The memory manager is asked for just what the job will take.

    model: an UPSCALE_MODEL; one of another pack may lack a patcher and gets one.
    """
    if getattr(model, "patcher", None) is None:
        if not isinstance(getattr(model, "model", None), nn.Module):
            raise ValueError(f"upscale_model is a {type(model).__name__} without a network. Use what a loader gives.")
        hand_over(model, model_management.get_torch_device())
    device = model.patcher.load_device
    network = model.patcher.model
    dtype, output_device = model_management.intermediate_dtype(), model_management.intermediate_device()
    is_shared = devices.share_memory(device, output_device)
    output_bytes = job.output_bytes(dtype) + job.intermediate_bytes if is_shared else 0
    canvas_bytes = job.canvas_bytes if is_shared else 0
    usable = int((_free(model, device) - output_bytes - canvas_bytes) * devices.SHARE)
    needed = job.needed(usable, device, output_device, COMFORTABLE_SIDE).total
    # The networks are small and not made to run in parts: buffers and bias tables would stay behind.
    model_management.load_models_gpu([model.patcher], memory_required=needed + output_bytes, force_full_load=True)
    tensors = chain(network.parameters(), network.buffers())
    strays = any(not devices.same_device(tensor.device, device) for tensor in tensors)
    try:
        if strays:  # with --novram the manager leaves weights where they are, whatever it is asked
            network.to(device)
        with model_management.cuda_device_context(device):
            free = _free(model, device) - output_bytes
            # what the manager has made free is for the job; a share of what others may take is left to them
            budget = needed if needed <= free else int(free * devices.SHARE)
            yield engine.Placement(device, budget, dtype, output_device)
    finally:
        if strays and not model.patcher.loaded_size():  # else the manager counts on finding them there
            network.to(model.patcher.offload_device)


def _free(model: Any, device: torch.device) -> int:
    """Bytes that are free now, other models staying where they are."""
    if device.type == "cpu":  # the patcher would add what it could free on the GPU
        return _free_memory(device)
    return max(0, model.patcher.get_free_memory(device) - model_management.extra_reserved_memory())


def _free_memory(device: torch.device) -> int:
    """Bytes that are free by ComfyUI's count; of the computer's memory no more than a container's limit leaves."""
    free: Any = model_management.get_free_memory(device)
    limit = devices.free_bytes(device) if device.type == "cpu" else None
    return free if limit is None else min(free, limit)


def output_options() -> dict[str, Any]:
    """Dtype and device that ComfyUI wants images in."""
    return {
        "output_dtype": model_management.intermediate_dtype(),
        "output_device": model_management.intermediate_device(),
    }


def require_room(job: Job) -> None:
    """Check, before anything is computed, that the result fits where ComfyUI keeps images.

    Raises:
        NotEnoughMemory: it does not.
    """
    needed = job.output_bytes(model_management.intermediate_dtype()) + job.canvas_bytes + job.intermediate_bytes
    device = model_management.intermediate_device()
    if device.type != "cpu":  # with --gpu-only: other models may have to leave
        model_management.free_memory(needed, device)
    free = _free_memory(device)
    if needed > free:
        height, width = job.size
        raise NotEnoughMemory(
            f"{job.count} x {width}x{height} pixels take {needed / 2**30:.1f} GB of memory; {free / 2**30:.1f} GB "
            "are free. Upscale fewer pictures at a time, ask for a smaller size, or close other programs."
        )


def teller(node_id: str) -> Callable[[str], None]:
    """A callable that writes a line of text to the log and onto the running node, below the lines before it."""
    lines: list[str] = []

    def tell(line: str) -> None:
        log.info("%s", line)
        if line not in lines:
            lines.append(line)
        # each message replaces the text of the one before; it travels as UTF-8
        PromptServer.instance.send_progress_text(escaped("\n".join(lines), "utf-8"), node_id)

    return tell


def progress() -> Callable[[float, int], None]:
    """A callable that shows progress on the running node."""
    bar = comfy.utils.ProgressBar(PROGRESS_STEPS)

    def show(done: float, total: int) -> None:
        bar.update_absolute(round(PROGRESS_STEPS * done / max(1, total)))

    return show


def stop_if_interrupted() -> bool:
    """Raises ComfyUI's own exception if the user has pressed Cancel; False otherwise."""
    model_management.throw_exception_if_processing_interrupted()
    return False


def is_out_of_memory(error: BaseException) -> bool:
    return model_management.is_oom(error) or apisr_archs.is_out_of_memory(error)
