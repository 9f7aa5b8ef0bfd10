"""APISR for ComfyUI: anime super-resolution with exact tiling.

From Python, with this folder importable as `apisr`, everything in `__all__` is here: `apisr.load_model`,
`apisr.upscale`, `apisr.upscale_video`, sessions for streams, and the errors. Names are resolved on first use (PEP
562), so that importing this module, as ComfyUI does at its start, imports neither torch nor spandrel.
"""

TYPE_CHECKING = False  # as in typing, which is not imported for one constant; type checkers know the name
if TYPE_CHECKING:
    from .apisr_archs import (
        ApisrError,
        CorruptWeights,
        DownloadFailed,
        MissingWeights,
        NotEnoughMemory,
        UnsafeWeights,
        UnsupportedWeights,
        load_model,
    )
    from .engine import Callbacks, Cancelled, Job, Placement, prepare, session, upscale
    from .video import NotEnoughDisk, UnreadableVideo, UnwritableVideo, upscale_video
else:  # with a __getattr__ in sight, type checkers would take any name for right

    def __getattr__(name: str) -> object:
        """Resolves the names in `__all__`; nothing is cached, so this module shows what the packages export now."""
        if name not in __all__:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        from . import apisr_archs, engine

        for package in (apisr_archs, engine):
            if name in package.__all__:
                return getattr(package, name)
        from . import video  # needs PyAV, which scripts for pictures need not have

        return getattr(video, name)


__all__ = [
    "load_model",
    "upscale",
    "upscale_video",
    "prepare",
    "session",
    "ApisrError",
    "Callbacks",
    "Cancelled",
    "CorruptWeights",
    "DownloadFailed",
    "Job",
    "MissingWeights",
    "NotEnoughDisk",
    "NotEnoughMemory",
    "Placement",
    "UnreadableVideo",
    "UnsafeWeights",
    "UnsupportedWeights",
    "UnwritableVideo",
]

WEB_DIRECTORY = "./web"
__version__ = "0.1.0"


async def comfy_entrypoint():  # noqa: ANN202  (the type lives in ComfyUI, which this module must not import)
    """What ComfyUI calls to get the nodes; imported only then, so that tests can import the pack without ComfyUI."""
    from .nodes import ApisrExtension

    return ApisrExtension()


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
