"""A checkpoint of random weights that ComfyUI takes for Stable Diffusion 1.5: 20 MB, with a UNet of one level."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import torch

CHANNELS = 320
TOKENS = 768
"""ComfyUI knows the UNet by its channels and by the width of the text; the number of its blocks is free."""
TIME = 4 * CHANNELS
VOCABULARY = 49408

Shapes = Iterator[tuple[str, tuple[int, ...]]]


def write_checkpoint(path: Path) -> None:
    """Write it for "Load Checkpoint". Weights share their numbers, which a .ckpt holds once, and the same seed gives
    the same file.
    """
    shapes = {**dict(_unet("model.diffusion_model.")), **dict(_vae("first_stage_model."))}
    shapes |= dict(_text_encoder("cond_stage_model.transformer.text_model."))
    numbers: dict[int, torch.Tensor] = {}
    weights = {}
    for name, shape in sorted(shapes.items(), key=lambda entry: -torch.Size(entry[1]).numel()):  # longest first
        if len(shape) == 1:
            weights[name] = torch.full((1,), float(name.endswith("weight"))).expand(shape)
        elif shape[0] == VOCABULARY:
            weights[name] = torch.randn(1, shape[1]).expand(shape)
        else:
            inputs, count = torch.Size(shape[1:]).numel(), torch.Size(shape).numel()
            if inputs not in numbers:
                numbers[inputs] = (torch.randn(count) / inputs**0.5).half()
            weights[name] = numbers[inputs][:count].view(shape)
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save({"state_dict": weights}, path)


def _layer(name: str, *shape: int, bias: bool = True) -> Shapes:
    yield f"{name}.weight", shape
    if bias:
        yield f"{name}.bias", shape[:1]


def _unet(prefix: str) -> Shapes:
    """A block down, none in the middle, two up."""
    yield from _layer(f"{prefix}time_embed.0", TIME, CHANNELS)
    yield from _layer(f"{prefix}time_embed.2", TIME, TIME)
    yield from _layer(f"{prefix}input_blocks.0.0", CHANNELS, 4, 3, 3)
    yield from _residual(f"{prefix}input_blocks.1.0.", CHANNELS)
    yield from _transformer(f"{prefix}input_blocks.1.1.")
    for block in range(2):
        yield from _residual(f"{prefix}output_blocks.{block}.0.", 2 * CHANNELS)
    yield from _layer(f"{prefix}out.0", CHANNELS)
    yield from _layer(f"{prefix}out.2", 4, CHANNELS, 3, 3)


def _residual(prefix: str, channels: int) -> Shapes:
    yield from _layer(f"{prefix}in_layers.0", channels)
    yield from _layer(f"{prefix}in_layers.2", CHANNELS, channels, 3, 3)
    yield from _layer(f"{prefix}emb_layers.1", CHANNELS, TIME)
    yield from _layer(f"{prefix}out_layers.0", CHANNELS)
    yield from _layer(f"{prefix}out_layers.3", CHANNELS, CHANNELS, 3, 3)
    if channels != CHANNELS:
        yield from _layer(f"{prefix}skip_connection", CHANNELS, channels, 1, 1)


def _transformer(prefix: str) -> Shapes:
    yield from _layer(f"{prefix}norm", CHANNELS)
    yield from _layer(f"{prefix}proj_in", CHANNELS, CHANNELS, 1, 1)
    yield from _layer(f"{prefix}proj_out", CHANNELS, CHANNELS, 1, 1)
    block = f"{prefix}transformer_blocks.0."
    for number, width in (1, CHANNELS), (2, TOKENS):
        yield from _layer(f"{block}attn{number}.to_q", CHANNELS, CHANNELS, bias=False)
        yield from _layer(f"{block}attn{number}.to_k", CHANNELS, width, bias=False)
        yield from _layer(f"{block}attn{number}.to_v", CHANNELS, width, bias=False)
        yield from _layer(f"{block}attn{number}.to_out.0", CHANNELS, CHANNELS)
    yield from _layer(f"{block}ff.net.0.proj", 8 * CHANNELS, CHANNELS)
    yield from _layer(f"{block}ff.net.2", CHANNELS, 4 * CHANNELS)
    for number in 1, 2, 3:
        yield from _layer(f"{block}norm{number}", CHANNELS)


def _vae(prefix: str) -> Shapes:
    """The small autoencoder that ComfyUI takes in place of the usual one."""
    coder = f"{prefix}taesd_encoder."
    yield from _layer(f"{coder}0", 64, 3, 3, 3)
    yield from _layer(f"{coder}14", 4, 64, 3, 3)
    yield from _levels(coder, blocks=(1, 3, 4, 5, 7, 8, 9, 11, 12, 13), between=(2, 6, 10))
    coder = f"{prefix}taesd_decoder."
    yield from _layer(f"{coder}1", 64, 4, 3, 3)
    yield from _layer(f"{coder}19", 3, 64, 3, 3)
    yield from _levels(coder, blocks=(3, 4, 5, 8, 9, 10, 13, 14, 15, 18), between=(7, 12, 17))


def _levels(coder: str, blocks: tuple[int, ...], between: tuple[int, ...]) -> Shapes:
    for block in blocks:
        for part in 0, 2, 4:
            yield from _layer(f"{coder}{block}.conv.{part}", 64, 64, 3, 3)
    for layer in between:
        yield from _layer(f"{coder}{layer}", 64, 64, 3, 3, bias=False)


def _text_encoder(prefix: str) -> Shapes:
    yield f"{prefix}embeddings.token_embedding.weight", (VOCABULARY, TOKENS)
    yield f"{prefix}embeddings.position_embedding.weight", (77, TOKENS)
    for number in range(12):
        layer = f"{prefix}encoder.layers.{number}."
        for part in "q", "k", "v", "out":
            yield from _layer(f"{layer}self_attn.{part}_proj", TOKENS, TOKENS)
        yield from _layer(f"{layer}mlp.fc1", 4 * TOKENS, TOKENS)
        yield from _layer(f"{layer}mlp.fc2", TOKENS, 4 * TOKENS)
        for norm in "layer_norm1", "layer_norm2":
            yield from _layer(f"{layer}{norm}", TOKENS)
    yield from _layer(f"{prefix}final_layer_norm", TOKENS)
