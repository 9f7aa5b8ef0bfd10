"""Workflows of two earlier APISR packs: ComfyUI offers to replace their nodes, where those packs are not installed.

kijai's ComfyUI-APISR has one node; ZHO's ComfyUI-APISR has a loader and two upscale nodes that differ in how they go
through a batch.
"""

from comfy_api.latest import ComfyAPI, io


def replacements() -> list[io.NodeReplace]:
    """The nodes of both packs. Outputs keep their places, and no output mapping says so: with one, ComfyUI 0.30 fails
    on a replaced node that feeds another replaced node, whose inputs have new names by then.
    """
    return [
        io.NodeReplace(
            "APISRQuickUpscale",
            "APISR_upscale",
            old_widget_ids=["ckpt_name", "per_batch", "dtype"],
            input_mapping=[{"new_id": "model_name", "old_id": "ckpt_name"}, {"new_id": "image", "old_id": "images"}],
        ),
        io.NodeReplace(
            "APISRModelLoader",
            "APISR_ModelLoader_Zho",
            old_widget_ids=["apisr_model"],
            input_mapping=[{"new_id": "model_name", "old_id": "apisr_model"}],
        ),
        *(
            io.NodeReplace(
                "APISRUpscale",
                old_id,
                old_widget_ids=["crop_for_4x", "dtype"],
                input_mapping=[
                    {"new_id": "upscale_model", "old_id": "pipe"},
                    {"new_id": "image", "old_id": "image"},
                ],
            )
            for old_id in ("APISR_Zho", "APISR_Lterative_Zho")
        ),
    ]


async def register(api: ComfyAPI) -> None:
    """Tell ComfyUI; one without replacements is left alone."""
    registry = getattr(api, "node_replacement", None)
    if registry is not None:
        for replacement in replacements():
            await registry.register(replacement)
