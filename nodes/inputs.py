"""Inputs of the upscale nodes, checked: `resize_to`, a choice that brings its own number, and the limits of tiles."""

from collections.abc import Mapping
from typing import Any

from comfy_api.latest import io

from ..engine import PRESETS, arguments

RESIZE_TO = "resize_to"
MOST_PIXELS = 16384
"""Longest side that a picture of ComfyUI may be asked to have, as in its own nodes."""


def resize_options() -> list[io.DynamicCombo.Option]:
    """The options of the input `resize_to`; the first one is the default."""
    return [io.DynamicCombo.Option(mode, [number] if number else []) for mode, number in _numbers().items()]


def size_request(resize_to: Any, others: Mapping[str, Any]) -> tuple[str, float]:
    """What the user asks for, as `resize_to` and `amount` of `engine.target_size`.

    ComfyUI nests the number under a choice that it knows: {"resize_to": "factor", "factor": 1.5}. In every other case
    (a link into `resize_to`, an unknown choice) the choice arrives as it was sent and the number beside it, as
    "resize_to.factor". A number that is missing, or None, has its default: a promoted widget of a subgraph does not
    send the number of a choice that was changed there.

    Args:
        resize_to: what `execute` got for the input of this name; None if nothing.
        others: inputs that `execute` does not name.

    Raises:
        ValueError: the choice or the number cannot be meant; the message names the input.
    """
    choice, numbers = _flat(resize_to, others)
    expected = _numbers()
    if choice is None:
        _refuse_number_without_choice(numbers)
        choice = next(iter(expected))
    arguments.one_of(choice, RESIZE_TO, tuple(expected))
    number = expected[choice]
    if number is None:
        return choice, 1.0
    name = f"{RESIZE_TO}.{number.id}"
    value = numbers.get(name)
    return choice, arguments.positive(number.default if value is None else value, name)


def tile_limits(tile_size: Any, overlap: Any, tiling: Any) -> dict[str, Any]:
    """What `engine.prepare` takes of the inputs of these names, 0 being no limit.

    Raises:
        ValueError: one of them cannot be meant; the message names it.
    """
    arguments.one_of(tiling, "tiling", PRESETS)
    return {
        "tile": arguments.whole(tile_size, "tile_size", least=0) or None,
        "overlap": arguments.whole(overlap, "overlap", least=0) or None,
        "preset": tiling,
    }


def _flat(resize_to: Any, others: Mapping[str, Any]) -> tuple[Any, dict[str, Any]]:
    """The choice, and the numbers by their names in API format, nested or not."""
    numbers = {name: value for name, value in others.items() if name.startswith(f"{RESIZE_TO}.")}
    if not isinstance(resize_to, dict) or RESIZE_TO not in resize_to:
        return resize_to, numbers
    return resize_to[RESIZE_TO], numbers | {f"{RESIZE_TO}.{name}": value for name, value in resize_to.items()}


def _refuse_number_without_choice(numbers: Mapping[str, Any]) -> None:
    if numbers:
        name, choices = next(iter(numbers)), ", ".join(_numbers())
        raise ValueError(f"{name} is given without {RESIZE_TO}. Set {RESIZE_TO} to one of: {choices}.")


def _numbers() -> dict[str, io.Int.Input | io.Float.Input | None]:
    """Each choice, in the order of the menu, and the input that it brings."""
    return {
        "model scale": None,
        "factor": io.Float.Input(
            "factor", optional=True, default=2.0, min=0.01, max=16.0, step=0.05, tooltip="Times the size of the input."
        ),
        "longer side": _pixels(2048, "Length of the longer side, in pixels."),
        "shorter side": _pixels(1080, "Length of the shorter side, in pixels."),
        "megapixels": io.Float.Input(
            "megapixels",
            optional=True,
            default=4.0,
            min=0.01,
            max=256.0,
            step=0.05,
            tooltip="Width times height, in units of 1024 x 1024 pixels.",
        ),
    }


def _pixels(default: int, tooltip: str) -> io.Int.Input:
    return io.Int.Input("pixels", optional=True, default=default, min=16, max=MOST_PIXELS, tooltip=tooltip)
