"""The node Upscale Video (APISR): UPSCALE_MODEL + VIDEO -> VIDEO."""

import time
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

from comfy import model_management
from comfy_api.latest import io

from .. import engine
from .. import video as videos
from ..apisr_archs import facts_of, is_misread_grl
from ..apisr_archs.text import get_logger
from ..engine import arguments
from . import host, inputs, video_files, words
from .status import HIDDEN, NodeStatus, told

log = get_logger(__name__)

SECONDS_BETWEEN_PREVIEWS = 0.3


class APISRUpscaleVideo(io.ComfyNode):
    results: ClassVar = video_files.Results()

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="APISRUpscaleVideo",
            display_name="Upscale Video (APISR)",
            category="video",
            description="Upscales a video of any length with a model. Frame times, sound and subtitles are kept. "
            "A run that was cut off goes on where it was.",
            search_aliases=["video", "upscale video", "video super resolution", "4k", *inputs.SEARCH_WORDS],
            inputs=[*_video_inputs(), *_codec_inputs(), *_work_inputs()],
            hidden=HIDDEN,
            outputs=[io.Video.Output(tooltip='The upscaled video. "Save Video" copies it without loss.')],
            accept_all_inputs=True,  # see `inputs.size_request`
            has_intermediate_output=True,  # see `NodeStatus.kept`
        )

    @classmethod
    def validate_inputs(cls, codec: Any = None, resize_to: Any = None) -> bool | str:
        """A shared workflow may name a codec that this machine lacks, like one of a graphics card.

        resize_to: not looked at, but ComfyUI passes every input with nested numbers, asked for or not.
        """
        if codec is None or codec in videos.available():
            return True
        return f"codec is {codec!r}, which this machine cannot write. Choose one of: {', '.join(videos.available())}."

    @classmethod
    def fingerprint_inputs(cls, **_: Any) -> int:
        """Changes if the result's file is gone, so that it is computed again."""
        return cls.results.losses(cls.hidden.unique_id)

    @classmethod
    @told
    def execute(
        cls,
        upscale_model: Any,
        video: Any,
        resize_to: Any = None,
        multiple_of: int = 2,
        codec: str = "h264",
        quality: float = videos.DEFAULT_QUALITY,
        bit_depth: str = "auto",
        reuse_frames: bool = True,
        tolerance: float = 0.0,
        tile_size: int = 0,
        overlap: int = 0,
        tiling: str = "exact",
        cpu_fallback: bool = False,
        **others: Any,
    ) -> io.NodeOutput:
        arguments.upscale_model(upscale_model, "upscale_model")
        video_files.require_video(video)
        mode, amount = inputs.size_request(resize_to, others)
        multiple_of = arguments.whole(multiple_of, "multiple_of", least=1)
        # up to 2, rows and columns are repeated instead: nothing is stretched only for the codec
        rounded_to = multiple_of if multiple_of > 2 else 1
        settings = {"multiple_of": multiple_of, "codec": codec, "quality": quality, "bit_depth": bit_depth}
        settings |= {"reuse_frames": reuse_frames, "tolerance": tolerance}
        settings |= inputs.tile_limits(tile_size, overlap, tiling)
        status = NodeStatus(cls.hidden)
        if is_misread_grl(upscale_model):
            status.warn(inputs.MISREAD_GRL)
        with video_files.source_of(video) as (source, window):
            clip = videos.read_clip(source, window)
            scale = facts_of(upscale_model).scale
            size = engine.target_size(clip.height, clip.width, scale, mode, amount, rounded_to)
            job = videos.prepare_video(upscale_model, source, clip, size=size, **settings)
            path = video_files.result_named(job.fingerprint)
            if path:
                status.end(status.say("done_before"))
            else:
                path = _run(upscale_model, job, status, cpu_fallback)
        cls.results.remember(cls.hidden.unique_id, path)
        return io.NodeOutput(video_files.UpscaledVideo(str(path)), ui=status.kept)


def _run(model: Any, job: videos.VideoJob, status: NodeStatus, cpu_fallback: bool) -> Path:
    in_flight = replace(job.engine, count=videos.IN_FLIGHT)
    host.require_room(in_flight)
    folder = video_files.parts_folder()
    videos.remove_stale(folder)
    bar = host.Bar()
    callbacks = engine.Callbacks(
        bar.advance, host.stop_if_interrupted, log.info, status.warn, is_out_of_memory=host.is_out_of_memory
    )
    with host.loaded(model, in_flight, videos.results_of) as placement:
        target = video_files.results_folder() / job.fingerprint
        reporter = _Reporter(bar, status)
        try:
            path = videos.run_video(
                model, job, target, folder, placement, callbacks, reporter.report, cpu_fallback=cpu_fallback
            )
        except model_management.InterruptProcessingException:
            raise model_management.InterruptProcessingException(reporter.stopped()) from None
        reporter.end()
        return path


class _Reporter:
    """Shows frames and the state of the run on the node, a few times a second."""

    def __init__(self, bar: host.Bar, status: NodeStatus) -> None:
        self.bar = bar
        self.status = status
        self.shown_at = 0.0
        self.last: videos.Status | None = None

    def report(self, frame: videos.Status) -> None:
        is_first, self.last = self.last is None, frame
        if is_first and frame.skipped:
            self.status.show(self.status.say("going_on", n=frame.skipped + 1, count=frame.total))
            self.shown_at = time.monotonic()
        if frame.done < frame.total and time.monotonic() - self.shown_at < SECONDS_BETWEEN_PREVIEWS:
            return
        self.bar.picture(frame.picture)
        left = words.duration(frame.seconds_left)
        reused = round(100 * frame.reused)
        self.status.show(
            self.status.say("video_frame", n=frame.done, count=max(frame.total, frame.done), time=left),
            self.status.say("video_pace", fps=f"{frame.fps:.3g}", reused=reused),
        )
        self.shown_at = time.monotonic()

    def stopped(self) -> str:
        """What to say after Cancel: frames since the last finished part are computed again."""
        done = self.last.done // videos.FRAMES_OF_A_PART * videos.FRAMES_OF_A_PART if self.last else 0
        if not self.last or not done:
            return self.status.say("stopped")
        return self.status.say("stopped_at", n=done, count=max(self.last.total, done))

    def end(self) -> None:
        if self.last:
            reused = round(100 * self.last.reused)
            key = "done_reused" if reused else "done_frames"
            time_taken = words.duration(self.last.seconds)
            self.status.end(self.status.say(key, count=self.last.done, time=time_taken, reused=reused))


def _video_inputs() -> list[io.Input]:
    return [
        io.UpscaleModel.Input("upscale_model", tooltip='From "Load APISR Model" or any other loader.'),
        io.Video.Input("video", tooltip='From "Load Video", trimmed or not, or any other node that gives a video.'),
        inputs.resize_input(),
        io.Int.Input(
            "multiple_of",
            optional=True,
            default=2,
            min=1,
            max=256,
            tooltip="Width and height of the result are multiples of this. Most codecs need 2; for that the last row "
            "or column is repeated. For more the picture is resized a little.",
        ),
    ]


def _codec_inputs() -> list[io.Input]:
    return [
        io.Combo.Input(
            "codec",
            optional=True,
            options=videos.available(),
            default="h264",
            tooltip="h264 plays everywhere. h265 and av1: smaller files, slower. ffv1: nothing is lost, for archives. "
            "prores: for editing. Those with a name in brackets use the graphics card.",
        ),
        io.Int.Input(
            "quality",
            optional=True,
            default=videos.DEFAULT_QUALITY,
            min=0,
            max=100,
            display_mode=io.NumberDisplay.slider,
            tooltip="0: smallest file. 65: no loss that can be seen. 100: no loss at all, and large files.",
        ),
        io.Combo.Input(
            "bit_depth",
            optional=True,
            options=list(videos.BIT_DEPTHS),
            default="auto",
            tooltip="Bits of each colour. auto: 10 if the video has more than 8, else 8. 10 has smoother gradients; "
            "some players cannot show it in h264.",
        ),
    ]


def _work_inputs() -> list[io.Input]:
    return [
        io.Boolean.Input(
            "reuse_frames",
            optional=True,
            default=True,
            advanced=True,
            tooltip="Compute only what differs from the frame before. Lossless; anime holds frames and moves small "
            "parts often.",
        ),
        io.Float.Input(
            "tolerance",
            optional=True,
            default=0.0,
            min=0.0,
            max=16.0,
            step=0.5,
            advanced=True,
            tooltip="With reuse_frames, treat differences up to this many steps of 255 as none. Compressed videos "
            "have noise in held frames: 2 to 4 saves much there. 0: only what is equal is reused.",
        ),
        *inputs.tile_inputs(),
        inputs.cpu_fallback_input(),
    ]
