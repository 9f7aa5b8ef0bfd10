"""Measures how much of a drawn video repeats: frames that are equal, and the work that reuse saves, per kind of clip.

    python dev.py bench duplicates

Clips of 640x360, 48 frames at 24 a second, made from the pictures in tests/art, lossless and in H.264 as it is usual on
the web. "Equal" is the share of frames that are bit-equal to the one before. The other columns are the share of the
network's work that `reuse_frames` saves, with the view of the bundled model: without tolerance, and with some.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Callable
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from _common import load_pack, save

load_pack()

# these imports need the pack to be loaded
from apisr_pack import engine, load_model  # noqa: E402
from apisr_pack.engine import Callbacks  # noqa: E402
from apisr_pack.tests import clips, trained  # noqa: E402
from apisr_pack.tests.standins import NearestModel  # noqa: E402
from apisr_pack.video import reader  # noqa: E402

HEIGHT, WIDTH, COUNT = 360, 640, 48
TOLERANCES = (0.0, 1.0, 2.0, 4.0)
ENCODINGS: dict[str, tuple[str, dict[str, str]]] = {
    "lossless": ("ffv1", {}),
    "H.264, crf 18": ("libx264", {"crf": "18", "bf": "3"}),
    "H.264, crf 23": ("libx264", {"crf": "23", "bf": "3"}),
}
Pictures = list[np.ndarray]


def _scene(face: str, left: int = 0, brightness: float = 1.0) -> np.ndarray:
    """Sylvie in front of the university, seen from `left` pixels further right."""
    background, sprite = trained.art("bg_uni.jpg"), trained.art(f"sylvie_{face}.png")
    picture = trained.on_background(sprite, background, 20, 400)
    piece = trained.crop(picture, 100, 300 + left, HEIGHT, WIDTH)[0].numpy()
    return (piece * brightness * 255).round().astype(np.uint8)


def cut_on_twos() -> Pictures:
    """The picture shifts by 3 pixels with every second frame: all of it changes, then it is held."""
    return [_scene("green_normal", 3 * (frame // 2)) for frame in range(COUNT)]


def talking_on_threes() -> Pictures:
    """Only the face changes, with every third frame."""
    faces = [_scene("green_normal"), _scene("green_smile")]
    return [faces[frame // 3 % 2] for frame in range(COUNT)]


def still() -> Pictures:
    return [_scene("green_smile")] * COUNT


def slow_pan() -> Pictures:
    """One pixel a frame."""
    return [_scene("green_normal", frame) for frame in range(COUNT)]


def fade_in() -> Pictures:
    return [_scene("green_smile", brightness=frame / (COUNT - 1)) for frame in range(COUNT)]


def grain() -> Pictures:
    """Noise of film over a still picture, another one with every frame."""
    noise = np.random.default_rng(0)
    picture = _scene("green_smile").astype(int)
    return [
        np.clip(picture + noise.integers(-3, 4, picture.shape[:2])[..., None], 0, 255).astype(np.uint8)
        for _ in range(COUNT)
    ]


KINDS: dict[str, Callable[[], Pictures]] = {
    "all moves, on twos": cut_on_twos,
    "a face talks, on threes": talking_on_threes,
    "still picture": still,
    "slow pan": slow_pan,
    "fade from black": fade_in,
    "still with grain": grain,
}


def measure(path: Path) -> dict[str, Any]:
    """The share of equal frames, and of the work saved by each tolerance."""
    clip = reader.read_clip(path)
    pictures = [frame.picture for frame in reader.read_frames(path, clip)]
    equal = sum(one is other for one, other in pairwise(pictures)) / len(pictures)
    facts = load_model("realesr-animevideov3").facts
    saved = {}
    for tolerance in TOLERANCES:
        model = NearestModel(facts.scale, facts=facts)
        job = engine.prepare(model, clip.shape)
        with engine.session(model, job, callbacks=Callbacks(tell=lambda _: None), tolerance=tolerance) as upscale_one:
            for picture in pictures:
                upscale_one(picture)
            saved[f"saved_at_{tolerance:g}"] = round(upscale_one.reused, 3)
    return {"equal": round(equal, 3), **saved}


def main() -> int:
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    rows: list[dict[str, Any]] = []
    print("| clip | stored as | equal | " + " | ".join(f"saved, tolerance {each:g}" for each in TOLERANCES) + " |")
    print("|---" * (3 + len(TOLERANCES)) + "|")
    with tempfile.TemporaryDirectory() as folder:
        for kind, pictures_of in KINDS.items():
            pictures = pictures_of()
            for stored_as, (codec, options) in ENCODINGS.items():
                path = Path(folder, "clip.mkv")
                with clips.opened(path) as out:
                    packets = clips.add_video(out, pictures, codec=codec, options=options, rate=Fraction(24))
                    clips.write(out, packets)
                row = {"kind": kind, "stored_as": stored_as, **measure(path)}
                rows.append(row)
                shares = [row["equal"], *(row[f"saved_at_{each:g}"] for each in TOLERANCES)]
                print(f"| {kind} | {stored_as} | " + " | ".join(f"{share:.0%}" for share in shares) + " |", flush=True)
    print(f"Saved {save('duplicates', rows)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
