"""Files that are no upscale model: one clear error each, no code of theirs runs, and the server lives on."""

from __future__ import annotations

import io
import os
import pickle
import secrets
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from apisr_pack.apisr_archs.files import zoo
from apisr_pack.tests import reference
from apisr_pack.tests.comfy import workflows as wf
from apisr_pack.tools.comfy_server import ExecutionFailed
from safetensors.torch import save
from spandrel.architectures.LaMa import LaMa

if TYPE_CHECKING:
    from apisr_pack.tools.comfy_server import ComfyServer


class RunsCode:
    """Unpickled with the plain pickle module, it makes the file `marker`."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Callable[..., int], tuple[str, int]]:
        return os.open, (str(self.marker), os.O_CREAT)


def torch_bytes(content: object) -> bytes:
    buffer = io.BytesIO()
    torch.save(content, buffer)
    return buffer.getvalue()


def compact_bytes() -> bytes:
    return torch_bytes({"model_state_dict": reference.official_state_dict(reference.compact())})


def lama_bytes() -> bytes:
    """LaMa with all its 51 million weights, each tensor a single stored zero."""
    with torch.device("meta"):
        shapes = {name: tensor.shape for name, tensor in LaMa(in_nc=4, out_nc=3).state_dict().items()}
    return torch_bytes({name: torch.zeros(()).expand(shape) for name, shape in shapes.items()})


PAGE = b"<!DOCTYPE html>\n<html><head><title>Sign in</title></head></html>\n"
POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"0" * 64 + b"\nsize 17942618\n"
LORA = {"lora_unet.lora_up.weight": torch.zeros(4, 2), "lora_unet.lora_down.weight": torch.zeros(2, 4)}

BAD_FILES: dict[str, tuple[Callable[[], bytes], str, tuple[str, ...]]] = {
    "lora.safetensors": (lambda: save(LORA), "UnsupportedWeights", ("LoRA", "models/loras")),
    "lora.pth": (lambda: torch_bytes(LORA), "UnsupportedWeights", ("LoRA", "models/loras")),
    "strange.pth": (
        lambda: torch_bytes({"something.weight": torch.zeros(3, 3)}),
        "UnsupportedWeights",
        ("is not a supported upscale model", "something.weight", "Choose another file"),
    ),
    "lama.pth": (lama_bytes, "UnsupportedWeights", ("LaMa", "more than an image", "one image into another")),
    "page.pth": (lambda: PAGE, "CorruptWeights", ("web page", "Download it again")),
    "pointer.pth": (lambda: POINTER, "CorruptWeights", ("Git-LFS pointer", "Download it again")),
    "empty.pth": (lambda: b"", "CorruptWeights", ("is empty", "Download it again")),
    "cut.pth": (lambda: compact_bytes()[:-20_000], "CorruptWeights", ("cut short", "Download it again")),
    "cut.safetensors": (lambda: save(LORA)[:-8], "CorruptWeights", ("cut short", "Download it again")),
}
"""Name of the file: its content, the error's class, and what the error must say beside the name."""


def refusal(server: ComfyServer, model_name: str) -> tuple[str, str]:
    """The class and the text of the error that a model gives; there must be one."""
    prompt = wf.ours(model_name, wf.send(server, wf.crop(16, 16), "refused.png"))
    with pytest.raises(ExecutionFailed) as caught:
        server.run(prompt)
    details = caught.value.details
    assert details["node_id"] == "model"
    return details["exception_type"].rpartition(".")[2], details["exception_message"]


def picture_of(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (16, 16, 3), dtype=np.uint8)


@pytest.fixture
def lives_on(comfy: ComfyServer) -> Iterator[None]:
    """After the test the server still works: a picture that it has never seen comes out upscaled."""
    yield
    fresh = wf.send(comfy, picture_of(secrets.randbelow(2**32)), "fresh.png")
    assert wf.run(comfy, wf.ours(wf.BUNDLED, fresh)).shape == (64, 64, 3)


@pytest.mark.usefixtures("lives_on")
@pytest.mark.parametrize("name", BAD_FILES)
def test_bad_file_is_named_and_explained(comfy: ComfyServer, name: str) -> None:
    content, error, words = BAD_FILES[name]
    path = comfy.models_dir / name
    path.write_bytes(content())
    kind, message = refusal(comfy, name)
    assert kind == error
    for word in (str(path), *words):
        assert word in message


@pytest.mark.usefixtures("lives_on")
@pytest.mark.parametrize("form", ["zip", "legacy", "bare pickle"])
def test_code_in_a_file_does_not_run(comfy: ComfyServer, tmp_path: Path, form: str) -> None:
    marker = tmp_path / "marker"
    path = comfy.models_dir / f"code {form}.pth"
    content = {"params": {"weight": torch.zeros(1), "more": RunsCode(marker)}}
    if form == "bare pickle":
        path.write_bytes(pickle.dumps(RunsCode(marker)))
    else:
        torch.save(content, path, _use_new_zipfile_serialization=form == "zip")
    kind, message = refusal(comfy, path.name)
    assert not marker.exists()
    assert kind == "UnsafeWeights"
    for word in (str(path), "was not loaded", "can run any code", ".safetensors"):
        assert word in message

    with path.open("rb") as file:  # our own file: shows that the code is there, and would have run
        pickle.load(file) if form == "bare pickle" else torch.load(file, weights_only=False)  # noqa: S301
    assert marker.exists()


@pytest.mark.usefixtures("lives_on")
def test_missing_file(comfy: ComfyServer) -> None:
    kind, message = refusal(comfy, "gone.pth")
    assert kind == "MissingWeights"
    for word in ("'gone.pth'", str(comfy.models_dir), "Put the file there", "press R"):
        assert word in message


@pytest.mark.usefixtures("lives_on")
def test_damaged_zoo_file_is_compared_with_the_right_one(comfy: ComfyServer) -> None:
    known = zoo.find("RealESRGAN_x4plus_anime_6B.pth")
    assert known is not None
    (comfy.models_dir / known.file).write_bytes(PAGE)
    kind, message = refusal(comfy, known.file)
    assert kind == "CorruptWeights"
    for word in ("web page", f"{known.bytes:,} bytes", known.sha256, *known.urls):
        assert word in message
