"""Checks arguments from callers. Each error names the argument, what was given, what was expected and the remedy."""

import math
import reprlib
import sys
from numbers import Integral, Real
from typing import Any

import torch
from torch import Tensor, nn

CHANNELS = (1, 3, 4)
"""Gray, RGB, RGBA."""
_SHAPE = "(batch, height, width, channels)"


def pictures(images: Any, name: str = "images") -> Tensor:
    """Check `images` and return them as (B, H, W, C).

    Also accepts (H, W, C) with C in `CHANNELS` as one picture, and any other three dimensions as (B, H, W): gray
    pictures, like ComfyUI's masks. An empty batch may have any height and width.

    Raises:
        ValueError: `images` is not a dense tensor of floats, has another shape, or has no pixels.
    """
    if not isinstance(images, Tensor):
        raise ValueError(f"{name} is {_type_of(images)}; expected a tensor of pictures, {_SHAPE}.{_remedy(images)}")
    dense(images, name)
    shape = tuple(images.shape)
    if images.ndim == 3:
        images = images[None] if shape[-1] in CHANNELS else images[..., None]
    if images.ndim != 4 or images.shape[-1] not in CHANNELS or (len(images) and 0 in images.shape):
        is_nchw = images.ndim == 4 and shape[1] in CHANNELS and 0 not in shape
        hint = f" It looks like (batch, channels, height, width): use {name}.permute(0, 2, 3, 1)." if is_nchw else ""
        raise ValueError(
            f"{name} has the shape {shape}; expected {_SHAPE} with 1 channel (grey), 3 (RGB) or 4 (RGBA), and at "
            f"least one pixel.{hint}"
        )
    floats(images.dtype, name)
    return images


def masks(mask: Any, name: str = "mask") -> Tensor:
    """Check `mask` and return it as (B, H, W).

    Also accepts (H, W) as one mask, and (B, 1, H, W) or (B, H, W, 1).

    Raises:
        ValueError: `mask` is not a dense tensor of floats or booleans, has another shape, or is empty.
    """
    if not isinstance(mask, Tensor):
        raise ValueError(f"{name} is {_type_of(mask)}; expected a tensor of masks, (batch, height, width).")
    dense(mask, name)
    shape = tuple(mask.shape)
    if mask.ndim == 4 and 1 in (shape[1], shape[3]):
        mask = mask[:, 0] if shape[1] == 1 else mask[..., 0]
    if mask.ndim == 2:
        mask = mask[None]
    if mask.ndim != 3 or 0 in mask.shape:
        raise ValueError(
            f"{name} has the shape {shape}; expected (batch, height, width), and at least one pixel. A mask is made "
            'from a picture by "Convert Image to Mask".'
        )
    if mask.dtype != torch.bool:
        floats(mask.dtype, name)
    return mask


def dense(images: Tensor, name: str) -> None:
    """Raises ValueError if `images` is not a dense tensor: it is sparse, nested or on "meta"."""
    problem = None
    if images.is_nested:
        problem = "a nested tensor", " Pictures of one size make a batch by torch.stack."
    elif images.layout is not torch.strided:
        problem = f"a sparse tensor ({images.layout})", f" Use {name}.to_dense()."
    elif images.is_meta:
        problem = "a tensor on the device meta, which holds no numbers", ""
    if problem:
        raise ValueError(f"{name} is {problem[0]}; expected a plain tensor of pictures, {_SHAPE}.{problem[1]}")


def floats(dtype: Any, name: str) -> None:
    """Raises ValueError unless `dtype` is a real floating-point dtype of at least 16 bits."""
    if not isinstance(dtype, torch.dtype):
        raise ValueError(f"{name} is {_value(dtype)}; expected a dtype of floats, like torch.float32.")
    if dtype.is_floating_point and dtype.itemsize < 2:
        raise ValueError(f"{name} is {dtype}; expected floats of 16 bits or more, like torch.float16.")
    if not dtype.is_floating_point:
        hint = " Divide by 255." if dtype == torch.uint8 else ""
        raise ValueError(f"{name} is {dtype}; expected floats, which are between 0 and 1.{hint}")


def upscale_model(model: Any, name: str = "model") -> None:
    """Raises ValueError unless `model` is an image-to-image UPSCALE_MODEL, RGB to RGB or gray to gray."""
    scale = getattr(model, "scale", None)
    is_bare = isinstance(model, nn.Module)
    if is_bare or not callable(model) or not isinstance(scale, Integral) or scale < 1:
        kind = f"a bare network ({type(model).__name__})" if is_bare else _type_of(model)
        raise ValueError(f"{name} is {kind}; expected an upscale model. Use what a loader of upscale models gives.")
    channels = getattr(model, "input_channels", 3), getattr(model, "output_channels", 3)
    if channels not in ((1, 1), (3, 3)):
        raise ValueError(
            f"The model turns {channels[0]} channels into {channels[1]}; expected RGB to RGB, or grey to grey. "
            "Choose another model."
        )


def whole(value: Any, name: str, least: int) -> int:
    """Convert `value` to an int. Raises ValueError unless it is a whole number (8 or 8.0) of at least `least`."""
    number: Any = value
    if not isinstance(value, Real) or not least <= number <= sys.maxsize or number % 1:  # NaN fails all comparisons
        raise ValueError(f"{name} is {_value(value)}; expected at least {least}, and a whole number.")
    return int(number)


def output_size(size: Any) -> tuple[int, int]:
    """Convert `size` to (height, width). Raises ValueError unless it is a pair of whole numbers of at least 1."""
    if not isinstance(size, (tuple, list)) or len(size) != 2:
        raise ValueError(f"size is {_type_of(size)}; expected a height and a width.")
    height, width = (whole(side, f"size's {name}", 1) for name, side in zip(("height", "width"), size, strict=True))
    return height, width


def positive(value: Any, name: str) -> float:
    """Convert `value` to a float. Raises ValueError unless it is finite and greater than 0."""
    try:
        number = float(value) if isinstance(value, Real) else 0.0
    except OverflowError:  # an int too large for a float
        number = math.inf
    if not 0 < number < math.inf:
        raise ValueError(f"{name} is {_value(value)}; expected more than 0, and a finite number.")
    return number


def not_negative(value: Any, name: str) -> float:
    """Convert `value` to a float. Raises ValueError unless it is finite and at least 0."""
    if isinstance(value, Real) and value == 0:
        return 0.0
    try:
        return positive(value, name)
    except ValueError:
        raise ValueError(f"{name} is {_value(value)}; expected at least 0, and a finite number.") from None


def flag(value: Any, name: str) -> bool:
    """Convert `value` to a bool. Raises ValueError unless it is a bool, 0 or 1."""
    is_numpy_bool = type(value).__module__ == "numpy" and type(value).__name__ in ("bool", "bool_")
    if not (isinstance(value, Real) or is_numpy_bool) or value not in (0, 1):
        raise ValueError(f"{name} is {_value(value)}; expected True or False.")
    return bool(value)


def text(value: Any, name: str, meaning: str) -> str:
    """Return `value`. Raises ValueError, which says that `meaning` was expected, unless it is a string."""
    if not isinstance(value, str):
        raise ValueError(f"{name} is {_value(value)}; expected {meaning}.")
    return value


def one_of(value: Any, name: str, options: tuple[str, ...]) -> None:
    """Raises ValueError unless `value` is one of `options`."""
    if not isinstance(value, str) or value not in options:
        raise ValueError(f"{name} is {_value(value)}; expected one of: {', '.join(options)}.")


def _value(value: Any) -> str:
    """Numbers and strings by their repr, shortened; anything else by its type."""
    return reprlib.repr(value) if isinstance(value, (str, Real)) else _type_of(value)


def _type_of(value: Any) -> str:
    """The type of a value, with its length or shape, but never its content."""
    if value is None:
        return "None"
    kind = type(value).__name__
    if isinstance(value, (list, tuple)):
        return f"a {kind} of {len(value)}"
    if type(value).__module__ == "numpy" and hasattr(value, "shape"):
        return f"a numpy array of the shape {value.shape}"
    if isinstance(value, Tensor):
        return "a nested tensor" if value.is_nested else f"a tensor of the shape {tuple(value.shape)}"
    return f"of the type {kind}"


def _remedy(images: Any) -> str:
    if images is None:
        return " The node or function before it gave nothing."
    if isinstance(images, (list, tuple)):
        return " Pictures of one size make a batch by torch.stack."
    return " Use torch.from_numpy." if type(images).__module__ == "numpy" else ""
