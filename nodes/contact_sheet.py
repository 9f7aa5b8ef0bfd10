"""The node Compare Models (APISR): a crop of a picture through all models that are there, as one labelled IMAGE."""

import time
from typing import Any

import torch
from comfy import model_management
from comfy_api.latest import io
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from .. import engine
from ..apisr_archs import ApisrError, UpscaleModel
from ..apisr_archs.text import get_logger
from ..engine import arguments, pixels
from . import catalogue, host, inputs, words
from .loader import load
from .status import HIDDEN, NodeStatus, told

log = get_logger(__name__)

CELL = 512
"""Width and height of each picture in the sheet, in pixels."""
BAND = 44
"""Height of the label below it."""
GAP = 8
BACKGROUND = 0.12
"""Brightness around the pictures."""
COLUMNS = 4
FAILED = torch.full((CELL, CELL, 3), 0.5)
"""In the place of a model that could not run."""
PLACES = ("centre", "most detail", "top", "bottom", "left", "right")


class APISRContactSheet(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="APISRContactSheet",
            display_name="Compare Models (APISR)",
            category="image/upscaling",
            description="Runs a small piece of a picture through all upscale models that are there, side by side.",
            search_aliases=["contact sheet", "compare models", "model test", *inputs.SEARCH_WORDS],
            inputs=[
                io.Image.Input("image", tooltip="A picture; of a batch the first one is used."),
                io.Int.Input(
                    "crop_size",
                    optional=True,
                    default=128,
                    min=32,
                    max=512,
                    step=8,
                    tooltip="Side of the piece, in pixels of the picture. Smaller is faster, and shown larger.",
                ),
                io.Combo.Input(
                    "place",
                    optional=True,
                    options=list(PLACES),
                    default="most detail",
                    tooltip="Which piece of the picture.",
                ),
                io.Int.Input(
                    "most_models",
                    optional=True,
                    default=12,
                    min=1,
                    max=100,
                    tooltip="At most this many models, in the order of the list. Nothing is downloaded.",
                ),
            ],
            hidden=HIDDEN,
            has_intermediate_output=True,  # see `NodeStatus.kept`
            outputs=[io.Image.Output(tooltip="One picture: the piece, then what each model makes of it.")],
        )

    @classmethod
    def fingerprint_inputs(cls, **_: Any) -> tuple[catalogue.Fingerprint | None, ...]:
        """Changes when a model comes, goes or is replaced."""
        return tuple(catalogue.fingerprint(name, download=False) for name in catalogue.names())

    @classmethod
    @told
    def execute(
        cls, image: Any, crop_size: int = 128, place: str = "most detail", most_models: int = 12
    ) -> io.NodeOutput:
        pictures = inputs.some_pictures(image, "image")
        crop_size = arguments.whole(crop_size, "crop_size", least=1)
        arguments.one_of(place, "place", PLACES)
        most_models = arguments.whole(most_models, "most_models", least=1)
        piece = crop(pictures[:1, ..., :3], crop_size, place)
        status = NodeStatus(cls.hidden)
        present = [name for name in catalogue.names() if catalogue.find(name)][:most_models]
        # the labels are English in every language: Pillow's own font has no other letters
        original = words.say("en", "sheet_original", width=piece.shape[2], height=piece.shape[1])
        cells = [(_fitted(piece[0]), original)]
        bar = host.Bar()
        for number, name in enumerate(present):
            host.stop_if_interrupted()
            status.show(catalogue.short_name(name), f"{number + 1} / {len(present)}")
            cells.append(_cell(name, piece, status))
            bar.advance(number + 1, len(present))
        count = sum(picture is not FAILED for picture, _ in cells[1:])
        status.end(status.say("sheet_done", count=count))
        return io.NodeOutput(sheet(cells)[None], ui=status.kept)


def crop(pictures: Tensor, side: int, place: str) -> Tensor:
    """A piece of pictures (B, H, W, C), at most `side` high and wide, square where it fits."""
    height, width = pictures.shape[1:3]
    h, w = min(side, height), min(side, width)
    top, left = (height - h) // 2, (width - w) // 2
    if place == "most detail":
        top, left = _most_detailed(pictures[0], h, w)
    elif place in ("top", "bottom"):
        top = 0 if place == "top" else height - h
    elif place in ("left", "right"):
        left = 0 if place == "left" else width - w
    return pictures[:, top : top + h, left : left + w]


def _most_detailed(picture: Tensor, h: int, w: int) -> tuple[int, int]:
    """Top and left of the (h, w) window in which neighboring pixels differ most."""
    gray = picture.float().mean(-1)
    detail = torch.zeros_like(gray)
    detail[1:] += (gray[1:] - gray[:-1]).abs()
    detail[:, 1:] += (gray[:, 1:] - gray[:, :-1]).abs()
    sums = torch.nn.functional.pad(detail.double().cumsum(0).cumsum(1), (1, 0, 1, 0))
    windows = sums[h:, w:] - sums[:-h, w:] - sums[h:, :-w] + sums[:-h, :-w]
    best = int(windows.argmax())
    return best // windows.shape[1], best % windows.shape[1]


def _cell(name: str, piece: Tensor, status: NodeStatus) -> tuple[Tensor, str]:
    """What a model makes of the piece, (CELL, CELL, 3), and its label. A model that fails gets a grey cell."""
    label = catalogue.short_name(name)
    try:
        model, _ = load(name, status, download=False)
        result, seconds = _timed(model, piece)
    except model_management.InterruptProcessingException:
        raise
    except Exception as error:  # whatever is wrong with one model, the others are shown
        log.warning("%s is left out of the sheet: %s", name, error, exc_info=not isinstance(error, ApisrError))
        return FAILED, f"{label}: {words.say('en', 'sheet_failed')}"
    return _fitted(result[0]), f"{label}, {words.duration(seconds)}"


def _fitted(picture: Tensor) -> Tensor:
    """A picture (H, W, C) as large as it fits into (CELL, CELL, 3), in the middle."""
    height, width = picture.shape[:2]
    scale = CELL / max(height, width)
    h, w = (max(1, round(side * scale)) for side in (height, width))
    cell = torch.full((CELL, CELL, 3), BACKGROUND)
    top, left = (CELL - h) // 2, (CELL - w) // 2
    cell[top : top + h, left : left + w] = pixels.resize(picture, (h, w)).cpu()
    return cell


def _timed(model: UpscaleModel, piece: Tensor) -> tuple[Tensor, float]:
    """The result, and the seconds that it took once the model was on its device."""
    job = engine.prepare(model, piece.shape)
    callbacks = engine.Callbacks(
        is_cancelled=host.stop_if_interrupted, tell=log.debug, is_out_of_memory=host.is_out_of_memory
    )
    with host.loaded(model, job) as placement:
        started = time.monotonic()
        result = engine.upscale_batch(model, piece, job, placement, callbacks)
        return result.float().cpu(), time.monotonic() - started


def sheet(cells: list[tuple[Tensor, str]]) -> Tensor:
    """Put labelled pictures, each (CELL, CELL, 3) in [0, 1], into rows: (H, W, 3)."""
    columns = min(COLUMNS, len(cells))
    rows = -(-len(cells) // columns)
    page = torch.full((rows * (CELL + BAND + GAP) + GAP, columns * (CELL + GAP) + GAP, 3), BACKGROUND)
    for index, (picture, label) in enumerate(cells):
        top = GAP + index // columns * (CELL + BAND + GAP)
        left = GAP + index % columns * (CELL + GAP)
        page[top : top + CELL, left : left + CELL] = picture.clamp(0, 1)
        page[top + CELL : top + CELL + BAND, left : left + CELL] = _label(label)
    return page


def _label(text: str) -> Tensor:
    """A line of text, white on dark: (BAND, CELL, 3)."""
    text = " ".join(text.split())  # names of files may hold line ends
    band = Image.new("L", (CELL, BAND), 30)
    draw, font = ImageDraw.Draw(band), ImageFont.load_default(22)
    while len(text) > 4 and draw.textlength(text, font=font) > CELL - 2 * GAP:
        text = f"{text[:-4].rstrip('.')}..."
    draw.text((GAP, BAND // 2), text, fill=235, font=font, anchor="lm")
    gray = torch.frombuffer(bytearray(band.tobytes()), dtype=torch.uint8).view(BAND, CELL, 1)
    return (gray / 255).expand(-1, -1, 3)
