"""Workflows in API format, put together from short pieces, and the pictures that go in and come out."""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from apisr_pack.tests import reference, trained
from PIL import Image

if TYPE_CHECKING:
    from apisr_pack.tools.comfy_server import ComfyServer, RunResult

BUNDLED = "realesr-animevideov3 (bundled)"

Node = dict[str, Any]
Prompt = dict[str, Node]


def node(kind: str, **inputs: Any) -> Node:
    """A node of class `kind`. An input that is a tuple is a link: ("id of a node", output)."""
    linked = {name: list(value) if isinstance(value, tuple) else value for name, value in inputs.items()}
    return {"class_type": kind, "inputs": linked, "_meta": {"title": kind}}


def our_loader(model_name: str, **changes: Any) -> Node:
    """Our loader, in fp32 so that any GPU gives the picture of the CPU."""
    inputs = {"precision": "fp32", "download": False, "device": "default", **changes}
    return node("APISRModelLoader", model_name=model_name, **inputs)


def our_upscale(model: str, image: str, **changes: Any) -> Node:
    """Our node between the nodes `model` and `image`."""
    inputs = {"resize_to": "model scale", "multiple_of": 1}
    inputs |= {"tile_size": 0, "overlap": 0, "tiling": "exact", "reuse_frames": True}
    inputs |= {"alpha": "model", "cpu_fallback": False, **changes}
    return node("APISRUpscale", upscale_model=(model, 0), image=(image, 0), **inputs)


def resize_to(choice: str, **number: Any) -> dict[str, Any]:
    """The inputs of our node for a size: `resize_to("longer side", pixels=2048)`."""
    return {"resize_to": choice} | {f"resize_to.{name}": value for name, value in number.items()}


def core_loader(model_name: str) -> Node:
    """Core "Load Upscale Model"."""
    return node("UpscaleModelLoader", model_name=model_name)


def core_upscale(model: str, image: str) -> Node:
    """Core "Upscale Image (using Model)"."""
    return node("ImageUpscaleWithModel", upscale_model=(model, 0), image=(image, 0))


def load_image(name: str) -> Node:
    """Core "Load Image" for a name that `send` returned."""
    return node("LoadImage", image=name)


def save(image: str) -> Node:
    """Core "Save Image" behind the node `image`."""
    return node("SaveImage", images=(image, 0), filename_prefix="test")


def ours(model_name: str, picture: str, loader: Node | None = None, **upscale: Any) -> Prompt:
    """The usual workflow: node "picture" and node "model" into node "upscaled", saved by node "saved"."""
    return {
        "picture": load_image(picture),
        "model": loader or our_loader(model_name),
        "upscaled": our_upscale("model", "picture", **upscale),
        "saved": save("upscaled"),
    }


def send(server: ComfyServer, picture: np.ndarray, name: str) -> str:
    """Write a picture, uint8 (H, W, C) or (H, W), into the server's input folder; returns its name there."""
    Image.fromarray(picture).save(server.base / "input" / name)
    return name


def crop(height: int, width: int, top: int = 100, left: int = 130) -> np.ndarray:
    """A piece of tests/art/demo.png, uint8 (height, width, 3)."""
    piece = trained.crop(trained.art("demo.png"), top, left, height, width)[0]
    return (piece.numpy() * 255).round().astype(np.uint8)


def saved(server: ComfyServer, result: RunResult, node_id: str = "saved") -> list[np.ndarray]:
    """The pictures that a Save Image node wrote, uint8 (H, W, C)."""
    return [np.asarray(Image.open(io.BytesIO(png))) for png in server.images(result, node_id)]


def run(server: ComfyServer, prompt: Prompt) -> np.ndarray:
    """Run a workflow that saves one picture at node "saved"; returns that picture."""
    (picture,) = saved(server, server.run(prompt))
    return picture


def steps_apart(one: np.ndarray, other: np.ndarray) -> int:
    """The largest difference of two pictures of one shape, in steps of 255."""
    assert one.shape == other.shape
    return int(np.abs(one.astype(int) - other.astype(int)).max())


def by_reference(module: torch.nn.Module, picture: np.ndarray) -> np.ndarray:
    """What an independent implementation makes of a picture, as Save Image would write it."""
    batch = torch.from_numpy(picture.astype(np.float32) / 255).permute(2, 0, 1)[None]
    with torch.no_grad():
        result = module(batch)[0].permute(1, 2, 0).clamp(0, 1)
    return (result.numpy() * 255).astype(np.uint8)


def write_official(path: Path, weights: dict[str, torch.Tensor]) -> None:
    """Write a file as APISR's authors publish them."""
    torch.save({"model_state_dict": weights}, path)


def write_compact(path: Path, seed: int) -> None:
    """A small and fast 4x network with random weights."""
    torch.manual_seed(seed)
    write_official(path, reference.official_state_dict(reference.perturbed(reference.compact(), seed)))


def write_nearest(path: Path) -> None:
    """A network that only enlarges each pixel to 2 x 2: all that it adds to that is zero."""
    network = reference.compact(num_in_ch=3, num_out_ch=3, num_feat=8, num_conv=1, upscale=2)
    write_official(path, {name: torch.zeros_like(weight) for name, weight in network.state_dict().items()})


def load_video(path: str) -> Node:
    """Core "Load Video" for a file in the server's input folder."""
    return node("LoadVideo", file=path)


def our_video(model: str, video: str, **changes: Any) -> Node:
    """Our video node between the nodes `model` and `video`, with its defaults."""
    return node("APISRUpscaleVideo", upscale_model=(model, 0), video=(video, 0), **changes)


def save_video(video: str, prefix: str = "video") -> Node:
    """Core "Save Video" behind the node `video`."""
    return node("SaveVideo", video=(video, 0), filename_prefix=prefix, format="auto", codec="auto")


def video_prompt(model_name: str, file: str, **changes: Any) -> Prompt:
    """The usual workflow for a video: "video" and "model" into "upscaled", saved by "saved"."""
    return {
        "video": load_video(file),
        "model": our_loader(model_name),
        "upscaled": our_video("model", "video", **changes),
        "saved": save_video("upscaled"),
    }


def saved_video(server: ComfyServer, result: RunResult, node_id: str = "saved") -> Path:
    """The file that "Save Video" wrote."""
    (file,) = result.outputs[node_id]["images"]
    return server.base / "output" / file["subfolder"] / file["filename"]
