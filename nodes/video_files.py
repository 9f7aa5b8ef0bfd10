"""VIDEO values of ComfyUI <-> video files."""

import json
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from io import BytesIO
from pathlib import Path
from typing import Any

import folder_paths
from comfy_api.latest import Input, InputImpl, Types
from typing_extensions import override

from ..apisr_archs.text import get_logger
from ..video import WHOLE, Source, UnwritableVideo, Window, in_memory, remux
from ..video.mux import MOST_TICKS, SUFFIXES

log = get_logger(__name__)

FOLDER = "apisr"
"""Name of our folders in those of ComfyUI."""


def parts_folder() -> Path:
    """Where finished parts wait for a run to go on: not in ComfyUI's temp folder, which it empties when it starts."""
    return Path(folder_paths.get_system_user_directory(FOLDER), "video_parts")


def results_folder() -> Path:
    return Path(folder_paths.get_temp_directory(), FOLDER)


def result_named(name: str) -> Path | None:
    """The finished result of this name, if it is still there."""
    paths = (results_folder() / f"{name}{suffix}" for suffix in SUFFIXES)
    return next((path for path in paths if path.is_file()), None)


class Results:
    """The file of each node's last result: ComfyUI keeps the VIDEO for later prompts, but not the file."""

    def __init__(self) -> None:
        self._paths: dict[str, Path] = {}
        self._losses: dict[str, int] = {}

    def remember(self, node_id: str, path: Path) -> None:
        self._paths[node_id] = path

    def losses(self, node_id: str) -> int:
        """How often the file was gone when it was asked for."""
        if node_id in self._paths and not self._paths[node_id].is_file():
            del self._paths[node_id]
            self._losses[node_id] = self._losses.get(node_id, 0) + 1
        return self._losses.get(node_id, 0)


def require_video(video: Any) -> None:
    """Raises ValueError unless `video` is a VIDEO."""
    if not isinstance(video, Input.Video):
        kind = "None" if video is None else f"of the type {type(video).__name__}"
        raise ValueError(
            f'video is {kind}; expected a VIDEO, like that of "Load Video". Frames make one by "Create Video".'
        )


@contextmanager
def source_of(video: Any) -> Iterator[tuple[Source, Window]]:
    """What to read for a VIDEO, and which part of it. The file may be gone when the context has ended.

    Frames that exist only in memory ("Create Video") are stored without loss. Crops and resizes that a newer ComfyUI
    has not applied to the file yet are applied by it.
    """
    has_edits = getattr(video, "has_pending_frame_edits", None)
    if isinstance(video, InputImpl.VideoFromComponents):
        parts = video.get_components()
        sound = parts.audio or {}
        waveform = sound["waveform"][0] if sound else None
        rate = Fraction(parts.frame_rate).limit_denominator(MOST_TICKS)
        yield in_memory(parts.images, rate, video.get_bit_depth(), waveform, int(sound.get("sample_rate", 0))), WHOLE
    elif has_edits is not None and has_edits():
        with tempfile.TemporaryDirectory(dir=folder_paths.get_temp_directory()) as folder:
            path = Path(folder, "edited.mp4")
            video.save_to(str(path), crf=0)
            yield path, WHOLE
    else:
        yield video.get_stream_source(), Window(*video.get_active_trim_window())


class UpscaledVideo(InputImpl.VideoFromFile):
    """A result. Saved as it is, all its streams are copied, and it keeps its own container."""

    @override
    def save_to(
        self,
        path: Any,
        format: Types.VideoContainer = Types.VideoContainer.AUTO,
        codec: Types.VideoCodec = Types.VideoCodec.AUTO,
        metadata: dict[str, Any] | None = None,
        bit_depth: int | None = None,
        crf: float | None = None,
        **others: Any,
    ) -> None:
        is_changed = bit_depth not in (None, self.get_bit_depth()) or crf is not None or any(others.values())
        if is_changed or codec != Types.VideoCodec.AUTO:
            super().save_to(path, format, codec, metadata, bit_depth, crf, **others)
            return
        source: Any = self.get_stream_source()
        tags = {name: text if isinstance(text, str) else json.dumps(text) for name, text in (metadata or {}).items()}
        own = Path(source).suffix.lower()
        if isinstance(path, BytesIO):
            remux(source, path, SUFFIXES[own if format == Types.VideoContainer.AUTO else f".{format.value}"], tags)
            return
        target = Path(path)
        if target.suffix.lower() != own and format == Types.VideoContainer.AUTO:
            # "Save Video" names all files mp4: what does not fit into one must not be lost
            remux(source, target.with_suffix(own), SUFFIXES[own], tags)
            log.info("Saved as %s. %s is a copy for viewing.", target.with_suffix(own).name, target.name)
        try:
            remux(source, target, SUFFIXES[target.suffix.lower()], tags)
        except UnwritableVideo:  # ProRes does not go into mp4
            super().save_to(path, format, Types.VideoCodec.H264, metadata)
