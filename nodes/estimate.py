"""What an upscaling will give and take, before it runs: size, memory and time, from the same `Job` as the run."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from comfy import model_management

from .. import engine
from ..apisr_archs import Facts
from ..apisr_archs.networks.published import facts_of_published
from ..engine import Job, arguments
from ..engine.sizes import MAX_SIDE
from . import catalogue, host, inputs, words
from .measured import MEASURED

HUGE = 200_000_000
"""Pixels of a result from which the text says that it is huge."""
LONG = 60.0
"""Seconds from which the text says where it runs."""
MOST_PIXELS = 10**10
"""Of all pictures of an input."""
DTYPES = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}


@dataclass(frozen=True)
class Estimate:
    job: Job
    pictures: int
    """Those of the result that are in memory at once."""
    device: torch.device
    bytes: int
    """Memory for the network, the result and what is between."""
    seconds: float | None
    """Time without loading the model; None if it was never measured on the device, or the pictures are not counted."""


def answer(query: Mapping[str, str], unknown: Collection[str] = ()) -> dict[str, Any]:
    """The lines to show on a node whose inputs are `query`, and the numbers in them.

    query: as in the route /apisr/estimate. Inputs that are left out have their defaults, if they are not `unknown`: an
        `unknown` input gets its value from another node. Without "count" the number of pictures is not known.

    Raises:
        ValueError: an input is invalid; the text is that of the run.
    """
    language = words.known_language(query.get("language"))
    name = query.get("model", "")
    facts = _facts(name)
    shape = _shape(query)
    if shape is None:
        return {"lines": [f"{facts.scale}x"] if facts and not _is_resized(query) else []}
    has_size = not any(each.startswith((inputs.RESIZE_TO, "multiple_of")) for each in unknown)
    size = _size(query, shape, facts) if has_size else None
    if size is None:
        return {"lines": []}
    line = words.say(language, "size", width=size[1], height=size[0])
    if shape[0] > 1:
        line = words.say(language, "frames", count=shape[0], size=line)
    found = {"lines": [line], "width": size[1], "height": size[0]}
    is_counted = "count" in query
    if is_counted:
        found["count"] = shape[0]
    if facts is None or unknown or max(size) > MAX_SIDE or not (is_counted or _is_video(query)):
        return found
    estimate = _estimate(query, name, facts, shape, size)
    lines = [line, _second_line(language, estimate)]
    return found | {"lines": lines, "bytes": estimate.bytes, "seconds": estimate.seconds}


def _second_line(language: str, estimate: Estimate) -> str:
    memory = words.memory(estimate.bytes)
    height, width = estimate.job.size
    if estimate.pictures * height * width >= HUGE:
        megapixels = round(estimate.pictures * height * width / 1e6)
        return words.say(language, "huge", megapixels=megapixels, memory=memory)
    if estimate.seconds is None:
        return words.say(language, "takes", memory=memory)
    time = words.duration(estimate.seconds)
    if estimate.seconds < LONG:
        return words.say(language, "takes_time", memory=memory, time=time)
    device = words.say(language, "cpu") if estimate.device.type == "cpu" else str(estimate.device)
    return words.say(language, "takes_long", memory=memory, time=time, device=device)


def _estimate(
    query: Mapping[str, str], name: str, facts: Facts, shape: tuple[int, ...], size: tuple[int, int]
) -> Estimate:
    alpha = query.get("alpha", "model")
    arguments.one_of(alpha, "alpha", engine.ALPHA_MODES)
    device = host.pick_device(query.get("device", "default"))
    dtype = _dtype(query.get("precision", "auto"), name, device)
    limits = inputs.tile_limits(
        _whole(query, "tile_size"), _whole(query, "overlap"), query.get("tiling", engine.PRESETS[0])
    )
    job = engine.job_of(
        facts,
        dtype,
        shape,
        size=size,
        limits=engine.Limits(limits["tile"], limits["overlap"], limits["preset"]),
        alpha_by=alpha,
    )
    result_dtype, output = model_management.intermediate_dtype(), model_management.intermediate_device()
    needed = host.needed_bytes(host.free_memory(device), job, device, result_dtype, output)
    pictures = 1 if _is_video(query) else job.count  # frames of a video go to the file one by one
    results = job.output_bytes(result_dtype) // job.count * pictures + job.intermediate_bytes
    pace = MEASURED.pace(catalogue.file_name(name), dtype, device) if "count" in query else None
    pixels = job.pixels(job.plans(needed))
    return Estimate(job, pictures, device, needed + results, None if pace is None else pace * pixels)


def _facts(name: str) -> Facts | None:
    """The facts of the model behind an entry: of one that was loaded, else of a published one."""
    loaded = MEASURED.models.get(catalogue.file_name(name))
    if loaded:
        return loaded.facts
    known = catalogue.published(name)
    return facts_of_published(known) if known else None


def _dtype(precision: str, name: str, device: torch.device) -> torch.dtype:
    if precision in DTYPES:
        return DTYPES[precision]
    loaded = MEASURED.models.get(catalogue.file_name(name))
    is_half = (loaded is None or loaded.supports_half) and host.is_good_at_fp16(device)
    return torch.float16 if is_half else torch.float32


def _shape(query: Mapping[str, str]) -> tuple[int, int, int, int] | None:
    """(count, height, width, channels) of the input; None if its size is not known."""
    if "width" not in query or "height" not in query:
        return None
    count, channels = _whole(query, "count", 1), _whole(query, "channels", 3)
    height, width = _whole(query, "height", 0), _whole(query, "width", 0)
    if channels not in (1, 3, 4) or max(height, width) > MAX_SIDE or not 0 < height * width * count <= MOST_PIXELS:
        return None
    return count, height, width, channels


def _size(query: Mapping[str, str], shape: tuple[int, ...], facts: Facts | None) -> tuple[int, int] | None:
    """Height and width of the result; None if that takes the scale of a model that is not known."""
    numbers = {name: _number(query, name) for name in query if name.startswith(f"{inputs.RESIZE_TO}.")}
    mode, amount = inputs.size_request(query.get(inputs.RESIZE_TO, inputs.MODEL_SCALE), numbers)
    if facts is None and mode == inputs.MODEL_SCALE:
        return None
    multiple_of = _whole(query, "multiple_of", 2 if _is_video(query) else 1)
    repeated = multiple_of if _is_video(query) and multiple_of <= 2 else 1  # as the node does
    scale, rounded_to = facts.scale if facts else 1, 1 if repeated == multiple_of else multiple_of
    height, width = engine.target_size(shape[1], shape[2], scale, mode, amount, rounded_to)
    return -(-height // repeated) * repeated, -(-width // repeated) * repeated


def _is_video(query: Mapping[str, str]) -> bool:
    return query.get("node") == "APISRUpscaleVideo"


def _is_resized(query: Mapping[str, str]) -> bool:
    return query.get(inputs.RESIZE_TO, inputs.MODEL_SCALE) != inputs.MODEL_SCALE


def _whole(query: Mapping[str, str], name: str, default: int = 0) -> int:
    return arguments.whole(_number(query, name), name, least=0) if name in query else default


def _number(query: Mapping[str, str], name: str) -> float:
    try:
        return float(query[name])
    except ValueError:
        raise ValueError(f"{name} is {query[name]!r}; expected a number.") from None
