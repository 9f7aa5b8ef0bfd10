"""A pack for the tests' ComfyUI: a model for which memory is scarce, a video without frames, wrong things on wires."""

from __future__ import annotations

import sys
from dataclasses import replace
from typing import Any

import torch
from comfy_api.latest import ComfyExtension, io


class Scarce:
    """An UPSCALE_MODEL for which no more than `limit` input pixels fit into memory at once, be it a tile or a strip."""

    def __init__(self, model: Any, limit: int) -> None:
        self.wrapped = model
        self.limit = limit

    def __getattr__(self, name: str) -> Any:
        return getattr(self.wrapped, name)

    def __call__(self, image: torch.Tensor, **how: Any) -> torch.Tensor:
        rows = how["way"].rows if "way" in how else None
        rows = rows or image.shape[-2]
        if min(rows, image.shape[-2]) * image.shape[-1] > self.limit:
            raise torch.OutOfMemoryError(f"injected: {tuple(image.shape)} {how}")
        return self.wrapped(image, **how)


class TestingScarceMemory(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="TestingScarceMemory",
            inputs=[io.UpscaleModel.Input("upscale_model"), io.Int.Input("limit", max=2**31)],
            outputs=[io.UpscaleModel.Output()],
        )

    @classmethod
    def execute(cls, upscale_model: Any, limit: int) -> io.NodeOutput:
        return io.NodeOutput(Scarce(upscale_model, limit))


class TestingNoFrames(io.ComfyNode):
    """What core's Get Video Components makes of a video without frames."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(node_id="TestingNoFrames", inputs=[], outputs=[io.Image.Output()])

    @classmethod
    def execute(cls) -> io.NodeOutput:
        return io.NodeOutput(torch.zeros(0, 0, 0, 3))


PICTURE = torch.full((2, 2, 5, 3), 0.5)
THINGS: dict[str, Any] = {
    "None": None,
    "NaN": float("nan"),
    "Chinese": "模型_不在",
    "list": [PICTURE],
    "dict": {"a": PICTURE},
    "pictures": PICTURE,
    "cuda:7": "cuda:7",
    "a picture with NaN": torch.tensor([0.5, float("nan")]).repeat(3, 1, 20, 10).movedim(0, -1),
    "grey": PICTURE[..., :1],
    "array": PICTURE.numpy(),
    "bytes": (PICTURE * 255).byte(),
    "network": torch.nn.Conv2d(3, 3, 1),
    "H, W": PICTURE[0, ..., 0],
    "H, W, C": PICTURE[0],
    "B, H, W": PICTURE[..., 0],
    "B, C, H, W": PICTURE.movedim(-1, 1),
    "5 dimensions": PICTURE[None],
    "factor": "factor",
    "B, H, W of bytes": torch.zeros(2, 2, 5, dtype=torch.uint8),
    "3 masks": torch.zeros(3, 2, 5),
    "booleans": torch.tensor([[True, False], [True, False]]),
}


class TestingAnything(io.ComfyNode):
    """What a careless node may put on any wire."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        inputs = [io.Combo.Input("what", options=list(THINGS))]
        return io.Schema(node_id="TestingAnything", inputs=inputs, outputs=[io.AnyType.Output()])

    @classmethod
    def execute(cls, what: str) -> io.NodeOutput:
        return io.NodeOutput(THINGS[what])


class TestingZoo(io.ComfyNode):
    """Lets the pack's first known model be another file, at another address, from now on."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        inputs = [io.String.Input("url"), io.Int.Input("bytes", max=2**31), io.String.Input("sha256")]
        return io.Schema(node_id="TestingZoo", inputs=inputs, outputs=[], is_output_node=True)

    @classmethod
    def execute(cls, **changes: Any) -> io.NodeOutput:
        (zoo,) = (module for name, module in sys.modules.items() if name.endswith("APISR.apisr_archs.files.zoo"))
        url = changes.pop("url")
        zoo.ZOO = (replace(zoo.ZOO[0], urls=(url,), **changes), *zoo.ZOO[1:])
        return io.NodeOutput()


class TestingExtension(ComfyExtension):
    async def get_node_list(self) -> list[type[io.ComfyNode]]:
        return [TestingScarceMemory, TestingNoFrames, TestingAnything, TestingZoo]


async def comfy_entrypoint() -> TestingExtension:
    return TestingExtension()
