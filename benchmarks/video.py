"""Measures upscaling videos: against ComfyUI's own nodes, held frames, our overhead, and memory by length.

    python dev.py bench video [--part host] [--frames 240]

host: a clip of variable frame rate in 10 bits with two sound tracks, by Get Video Components -> Upscale Image (using
    Model) -> Create Video -> Save Video, and by ours, with the bundled model; each in its own process.
held: a lossless clip drawn on twos, in which everything moves, with and without reuse of frames; the results are
    compared bit by bit. With the bundled model and with an RRDB 2x.
overhead: what decoding, converting and encoding take beside the network, and the pace without a network.
memory: the peak resident memory for 200 and for 2000 frames.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from fractions import Fraction
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from _common import ROOT, load_comfyui, load_pack, save
from safetensors.torch import save_file
from torch import Tensor, nn

load_pack()

# these imports need the pack to be loaded
import av  # noqa: E402
from apisr_pack import engine, load_model, video  # noqa: E402
from apisr_pack.tests import clips, trained  # noqa: E402
from apisr_pack.video import encode, reader  # noqa: E402

HEIGHT, WIDTH = 96, 160
PARTS = ("host", "held", "overhead", "memory")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--part", choices=PARTS)
    parser.add_argument("--frames", type=int, default=240)
    parser.add_argument("--way", choices=sorted(WAYS), help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.way:
        print(json.dumps(WAYS[arguments.way](arguments.folder, arguments.frames)))
        return 0
    wanted = [arguments.part] if arguments.part else PARTS
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as folder:
        for way in (way for way in WAYS if way.replace(",", "").split()[0] in wanted):
            rows.append({"way": way, **_in_a_process(way, Path(folder), arguments.frames)})
            print(json.dumps(rows[-1]), flush=True)
    if arguments.part is None:
        print(f"Saved {save('video_cpu', rows, pyav=av.__version__)}")
    return 0


def _in_a_process(way: str, folder: Path, frames: int) -> dict[str, Any]:
    """Peaks of memory never fall, so each way has a process of its own."""
    command = [sys.executable, __file__, "--way", way, "--folder", str(folder), "--frames", str(frames)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(done.stderr)
    return json.loads(done.stdout.splitlines()[-1])


def _bundled() -> Any:
    return load_model("realesr-animevideov3", precision="fp32", device="cpu")


class Identity(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x


class IdentityModel:
    """An UPSCALE_MODEL that gives what it gets."""

    scale = 1
    input_channels = output_channels = 3
    device, dtype = torch.device("cpu"), torch.float32

    def __init__(self) -> None:
        self.model = Identity()

    def __call__(self, image: Tensor) -> Tensor:
        return image


def _peak_mib() -> int:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return round((peak if sys.platform == "darwin" else peak * 1024) / 2**20)


def _sliding_clip(folder: Path, frames: int) -> Path:
    """A figure moves before a still background: 10 bits, H.264 with irregular times, 5.1 and stereo sound."""
    path = folder / "sliding.mp4"
    if path.exists():
        return path
    pictures = [_larger(picture) for picture in clips.sliding(frames)]
    times = [512 * frame + 100 * (frame % 3) for frame in range(frames)]
    seconds = Fraction(times[-1], 12288)
    with clips.opened(path) as out:
        pix_fmt, time_base = "yuv420p10le", Fraction(1, 12288)
        packets = clips.add_video(out, pictures, pix_fmt=pix_fmt, times=times, time_base=time_base, last=512)
        sound = [
            clips.add_audio(out, layout=layout, seconds=float(seconds), language=language)
            for layout, language in (("5.1", "jpn"), ("stereo", "eng"))
        ]
        clips.write(out, packets, *sound)
    return path


def _larger(picture: Any) -> Any:
    rows, columns = (torch.linspace(0, side - 1, new).round().long() for side, new in ((64, HEIGHT), (96, WIDTH)))
    return picture[rows.numpy()][:, columns.numpy()]


def _kept(source: Path, result: Path) -> dict[str, Any]:
    """What is left of frame times, sound and bits."""
    facts = []
    for path in (source, result):
        with av.open(path) as container:
            stream = container.streams.video[0]
            tracks = len(container.streams.audio)
            frames = [(frame.time, frame.format.components[0].bits) for frame in container.decode(stream)]
        facts.append((frames, tracks))
    (before, tracks_before), (after, tracks_after) = facts
    right = sum(abs(one - other) < 0.001 for (one, _), (other, _) in zip(before, after, strict=False))
    return {
        "frames_at_their_time": f"{right} of {len(before)}",
        "sound_tracks": f"{tracks_after} of {tracks_before}",
        "bits": after[0][1],
    }


def host_core(folder: Path, frames: int) -> dict[str, Any]:
    """ComfyUI's nodes, on the whole clip in memory."""
    load_comfyui()
    import comfy.model_patcher
    from comfy_api.latest import InputImpl, Types
    from comfy_extras.nodes_upscale_model import ImageUpscaleWithModel
    from spandrel import ModelLoader

    source, target = _sliding_clip(folder, frames), folder / "core.mp4"
    model = ModelLoader().load_from_file(str(ROOT / "models" / "realesr-animevideov3.safetensors")).eval()
    device = torch.device("cpu")
    setattr(model, "patcher", comfy.model_patcher.CoreModelPatcher(model.model, device, device))  # noqa: B010
    before, started = _peak_mib(), time.perf_counter()
    with torch.inference_mode():
        parts = InputImpl.VideoFromFile(str(source)).get_components()
        images = ImageUpscaleWithModel.execute(model, parts.images)[0]
        made = Types.VideoComponents(images=images, audio=parts.audio, frame_rate=parts.frame_rate)
        InputImpl.VideoFromComponents(made).save_to(str(target))
    return _timed(started, frames, before) | _kept(source, target)


def host_ours(folder: Path, frames: int) -> dict[str, Any]:
    source, target = _sliding_clip(folder, frames), folder / "ours.mp4"
    model = _bundled()
    before, started = _peak_mib(), time.perf_counter()
    video.upscale_video(model, source, target, reuse_frames=False)
    return _timed(started, frames, before) | _kept(source, target)


def host_ours_with_reuse(folder: Path, frames: int) -> dict[str, Any]:
    source = _sliding_clip(folder, frames)
    model = _bundled()
    before, started = _peak_mib(), time.perf_counter()
    video.upscale_video(model, source, folder / "reused.mp4", tolerance=2)
    return _timed(started, frames, before)


def _timed(started: float, frames: int, peak_before: int) -> dict[str, Any]:
    seconds = time.perf_counter() - started
    return {
        "seconds": round(seconds, 1),
        "fps": round(frames / seconds, 2),
        "peak_mib": _peak_mib() - peak_before,
    }


def held(model: Any, folder: Path, frames: int) -> dict[str, Any]:
    """Times without and with reuse, medians of three interleaved rounds after a warm-up."""
    source, art = folder / "twos.mkv", (trained.art("bg_uni.jpg")[0, :192, :, :3] * 255).byte().numpy()
    drawings = [np.ascontiguousarray(np.roll(art, 8 * number, axis=1)[:, :320]) for number in range(frames // 2)]
    pictures = [drawing for drawing in drawings for _ in range(2)]
    with clips.opened(source) as out:
        clips.write(out, clips.add_video(out, pictures, codec="ffv1", rate=Fraction(24)))
    targets = {reuse: folder / f"twos_{reuse}.mp4" for reuse in (True, False)}
    runs = {
        reuse: partial(video.upscale_video, model, source, target, reuse_frames=reuse)
        for reuse, target in targets.items()
    }
    runs[True]()
    rounds = [{reuse: _seconds(run) for reuse, run in runs.items()} for _ in range(3)]
    seconds = {reuse: statistics.median(each[reuse] for each in rounds) for reuse in runs}
    return {
        "frames": len(pictures),
        "seconds_without": round(seconds[False], 1),
        "seconds_with": round(seconds[True], 1),
        "times_as_fast": round(seconds[False] / seconds[True], 2),
        "bit_equal": _packets(targets[True]) == _packets(targets[False]),
    }


def _held_bundled(folder: Path, frames: int) -> dict[str, Any]:
    return held(_bundled(), folder, frames // 4)


def _held_rrdb(folder: Path, frames: int) -> dict[str, Any]:
    """With the network of 2x_APISR_RRDB_GAN_generator, which is more work for fewer pixels to encode."""
    path = folder / "rrdb.safetensors"
    save_file(trained.rrdb_2x_state_dict(), path)
    return held(load_model(path, precision="fp32", device="cpu"), folder, frames // 8)


def _packets(path: Path) -> list[bytes]:
    with av.open(path) as container:
        return [bytes(packet) for packet in container.demux(container.streams.video[0])]


def overhead(folder: Path, frames: int) -> dict[str, Any]:
    """The whole run beside the network and the encoder alone, in three interleaved rounds; the medians."""
    count = frames // 3
    source, model = _sliding_clip(folder, count), _bundled()
    clip = reader.read_clip(source)
    job = video.prepare_video(model, source, clip, reuse_frames=False)
    pictures = [frame.picture for frame in reader.read_frames(source, clip)]
    with engine.session(model, job.engine, reuse_frames=False) as upscale_one:
        results = [upscale_one(picture) for picture in pictures]
        runs: dict[str, Callable[[], object]] = {
            "seconds": lambda: video.upscale_video(model, source, folder / "whole.mp4", reuse_frames=False),
            "network_alone": lambda: [upscale_one(picture) for picture in pictures],
            "encoder_alone": lambda: encode.encode_part(folder / "alone.mp4", job.encoding, job.look, results),
            "without_network": lambda: video.upscale_video(
                IdentityModel(), source, folder / "same.mp4", reuse_frames=False
            ),
        }
        rounds = [{name: _seconds(run) for name, run in runs.items()} for _ in range(3)]
    taken = {name: round(statistics.median(each[name] for each in rounds), 2) for name in runs}
    beyond = statistics.median(
        (each["seconds"] - each["network_alone"] - each["encoder_alone"]) / each["seconds"] for each in rounds
    )
    identity_fps = round(count / taken.pop("without_network"), 1)
    return {"frames": count, **taken, "beyond_both": round(beyond, 3), "identity_fps": identity_fps}


def _seconds(run: Callable[[], object]) -> float:
    started = time.perf_counter()
    run()
    return time.perf_counter() - started


def _memory(folder: Path, frames: int) -> dict[str, Any]:
    source = folder / f"length_{frames}.mkv"
    pictures = clips.sliding(20)
    with clips.opened(source) as out:
        repeated = islice((picture for _ in range(frames) for picture in pictures), frames)
        clips.write(out, clips.add_video(out, [_larger(picture) for picture in repeated], rate=Fraction(24)))
    code = Path(__file__).with_name("_video_memory.py")
    done = subprocess.run([sys.executable, code, source], capture_output=True, text=True, check=True)
    return {"frames": frames, "peak_mib": int(done.stdout)}


WAYS: dict[str, Callable[[Path, int], dict[str, Any]]] = {
    "host core": host_core,
    "host ours": host_ours,
    "host ours, tolerance 2": host_ours_with_reuse,
    "held": _held_bundled,
    "held, RRDB 2x": _held_rrdb,
    "overhead": overhead,
    "memory 200": lambda folder, _: _memory(folder, 200),
    "memory 2000": lambda folder, _: _memory(folder, 2000),
}

if __name__ == "__main__":
    sys.exit(main())
