"""APISR for ComfyUI: anime super-resolution with exact tiling."""

WEB_DIRECTORY = "./web"
__version__ = "0.1.0"


async def comfy_entrypoint():  # noqa: ANN201  (the type lives in ComfyUI, which this module must not import)
    """What ComfyUI calls to get the nodes; imported only then, so that tests can import the pack without ComfyUI."""
    from .nodes import ApisrExtension

    return ApisrExtension()
