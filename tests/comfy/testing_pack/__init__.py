"""A pack for the tests' ComfyUI: a model for which memory is scarce, a video without frames."""

from __future__ import annotations

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
        rows = how.get("rows") or image.shape[-2]
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


class TestingExtension(ComfyExtension):
    async def get_node_list(self) -> list[type[io.ComfyNode]]:
        return [TestingScarceMemory, TestingNoFrames]


async def comfy_entrypoint() -> TestingExtension:
    return TestingExtension()
