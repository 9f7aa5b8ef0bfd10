"""The Triton kernels compute what the networks compute, in Triton's interpreter, and compile for every kind of GPU.

Triton decides whether to interpret when it is imported, and torch imports it. So this file is also a script: a child
process runs the checks, and each test shows the verdict on one of them.
"""

from __future__ import annotations

import functools
import importlib
import importlib.util
import json
import os
import subprocess
import sys
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any
from unittest import mock

import pytest
import torch
import torch.nn.functional as F
from apisr_pack.apisr_archs import grl, windows
from apisr_pack.apisr_archs.rrdb import ResidualDenseBlocks
from apisr_pack.benchmarks.kernels import available
from torch import Tensor, nn

CONFTEST = Path(__file__).resolve().parents[1] / "conftest.py"
CHILD = "import runpy, sys; runpy.run_path(sys.argv[1]); runpy.run_path(sys.argv[2], run_name='__main__')"
TOLERANCE = {torch.float32: 5e-6, torch.float16: 1e-3, torch.bfloat16: 1e-2}
"""Of the output's largest value: one rounding. The interpreter truncates to bf16 where GPUs round."""
CHECKS: dict[str, Callable[[], None]] = {}
HALF = torch.float16
pytestmark = pytest.mark.slow


def kernels(name: str) -> ModuleType:
    return importlib.import_module(f"apisr_pack.benchmarks.kernels.{name}")


def difference(got: Tensor, expected: Tensor) -> float:
    """Largest difference, in parts of the largest expected value."""
    assert got.shape == expected.shape
    assert got.isfinite().all()
    return float((got.float() - expected.float()).abs().max() / expected.float().abs().max())


def pixels(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
    """Random (B, C, H, W), channels-last."""
    return torch.randn(shape).to(dtype).contiguous(memory_format=torch.channels_last)


# 3x3 convolutions

PAIRS = ((64, 32), (96, 32), (192, 64), (64, 64))
MARCHING = {"rows": 2, "columns": 16}
"""Small, for several strips in a small image."""


def convolution(
    channels: tuple[int, int],
    dtype: torch.dtype,
    size: tuple[int, int, int],
    *,
    residuals: int = 0,
    marching: dict[str, int] | None = None,
    weight_format: torch.memory_format = torch.channels_last,
) -> None:
    """size: (B, H, W)."""
    conv3x3 = kernels("conv3x3")
    (c_in, c_out), (b, height, width) = channels, size
    buffer = pixels(b, c_in + c_out + 32, height, width, dtype=dtype)
    before = buffer.clone()
    weight = (torch.randn(c_out, c_in, 3, 3) / 24).to(dtype).contiguous(memory_format=weight_format)
    bias = torch.randn(c_out).to(dtype)
    added = tuple(pixels(*buffer.shape, dtype=dtype)[:, 16 : 16 + c_out] for _ in range(residuals))
    expected = F.conv2d(before[:, :c_in].float(), weight.float(), bias.float(), padding=1)
    for residual in added:
        expected = residual.float() + 0.2 * expected
    if not added:
        expected = F.leaky_relu(expected, 0.2)
    chosen = (conv3x3._marching_kernel, marching) if marching else conv3x3.choose_kernel(buffer.device, dtype, c_out)
    with mock.patch.object(conv3x3, "choose_kernel", return_value=chosen):
        conv3x3.conv3x3_into(
            buffer[:, :c_in],
            weight,
            bias,
            buffer[:, c_in : c_in + c_out],
            slope=None if added else 0.2,
            residuals=added,
            residual_scale=0.2,
        )
    assert difference(buffer[:, c_in : c_in + c_out], expected) <= TOLERANCE[dtype]
    assert torch.equal(buffer[:, :c_in], before[:, :c_in]), "the source was changed"
    assert torch.equal(buffer[:, c_in + c_out :], before[:, c_in + c_out :]), "other channels were changed"


CHECKS |= {
    f"plain {pair} {dtype} {size}": functools.partial(convolution, pair, dtype, size)
    for pair in PAIRS
    for dtype, size in ((torch.float32, (1, 5, 7)), (HALF, (2, 5, 7)), (torch.bfloat16, (1, 9, 3)))
}
CHECKS |= {
    "plain, 1x1": functools.partial(convolution, (64, 32), HALF, (1, 1, 1)),
    "plain, several tiles": functools.partial(convolution, (64, 32), HALF, (1, 18, 200)),
    "plain, 1 residual": functools.partial(convolution, (64, 64), HALF, (1, 5, 7), residuals=1),
    "plain, 2 residuals": functools.partial(convolution, (64, 64), HALF, (1, 5, 7), residuals=2),
    "plain, contiguous weight": functools.partial(
        convolution, (64, 32), HALF, (1, 5, 7), weight_format=torch.contiguous_format
    ),
    "marching, 1x1": functools.partial(convolution, (64, 32), HALF, (1, 1, 1), marching=MARCHING),
    "marching, several strips": functools.partial(
        convolution, (64, 32), HALF, (1, 18, 200), marching={"rows": 16, "columns": 128}
    ),
    "marching, 2 residuals": functools.partial(convolution, (192, 64), HALF, (1, 3, 7), residuals=2, marching=MARCHING),
    "marching, batch": functools.partial(convolution, (96, 32), torch.bfloat16, (2, 3, 9), marching=MARCHING),
}


def rrdb_body(dtype: torch.dtype, features: int, tolerance: float) -> None:
    body = nn.Sequential(ResidualDenseBlocks(features, 32), ResidualDenseBlocks(features, 32)).to(dtype)
    x = pixels(1, features, 5, 9, dtype=dtype)
    before = x.clone()
    with torch.inference_mode():
        got = kernels("conv3x3").rrdb_body(x, body)
        expected = body.float()(before.float())
    assert got.dtype == dtype
    assert got.is_contiguous(memory_format=torch.channels_last)
    assert difference(got - before, expected - before) <= tolerance
    assert torch.equal(x, before), "the input was changed"


CHECKS["RRDB body, fp32"] = functools.partial(rrdb_body, torch.float32, 64, 1e-5)
CHECKS["RRDB body, fp16"] = functools.partial(rrdb_body, torch.float16, 32, 2e-3)


# Attention in windows


def reference_attention(
    qkv: list[Tensor],
    bias: Tensor,
    window: windows.Window,
    shift: windows.Window | None,
    heads: int,
    scale: float,
) -> Tensor:
    """What the networks do: roll, cut into windows, attend with masks, put together, roll back."""
    if shift:
        bias = bias + windows.shift_masks(window, shift).unsqueeze(1)
        qkv = [x.roll((-shift[0], -shift[1]), dims=(1, 2)) for x in qkv]
    q, k, v = (windows.to_windows(x, window, heads) for x in qkv)
    out = windows.from_windows(windows.attend(q, k, v, bias, scale), window)
    return out.roll(shift, dims=(1, 2)) if shift else out


def dot_product_attention(
    window: windows.Window,
    shift: windows.Window | None,
    depth: int,
    dtype: torch.dtype,
    *,
    padded: int = 0,
    image: tuple[int, int] = (2, 3),
    heads: int = 3,
) -> None:
    """image: (rows, columns) of windows; padded: to how many channels each head is filled with zeros."""
    projected, qkv = projection(image[0] * window[0], image[1] * window[1], heads, depth, padded or depth, dtype)
    bias = 4 * torch.randn(1, heads, window[0] * window[1], window[0] * window[1])
    got = kernels("window_attention").window_attention(
        *projected, bias, heads=heads, window=window, shift=shift or (0, 0), scale=depth**-0.5
    )
    got = got.unflatten(-1, (heads, padded or depth))
    assert got.dtype == dtype
    assert not got[..., depth:].any(), "padding must stay zero"
    expected = reference_attention(qkv, bias, window, shift, heads, depth**-0.5)
    assert difference(got[..., :depth].flatten(-2), expected) <= TOLERANCE[dtype]


def projection(
    height: int, width: int, heads: int, depth: int, padded: int, dtype: torch.dtype
) -> tuple[list[Tensor], list[Tensor]]:
    """q, k and v of the second half of the heads: slices of one tensor (B, H, W, 3 * 2 * heads * padded), and exact."""
    qkv = (2 * torch.randn(2, height, width, 3, 2, heads, depth)).to(dtype)
    wide = F.pad(qkv, (0, padded - depth)).flatten(-4)
    slices = [part.chunk(2, dim=-1)[1] for part in wide.chunk(3, dim=-1)]
    return slices, [qkv[:, :, :, i, 1].flatten(-2).float() for i in range(3)]


def strips_of_rows() -> None:
    """The caller rolls the rows and hands in one row of windows at a time; only the last knows the image's border."""
    window, shift = (8, 16), (4, 8)
    projected, qkv = projection(24, 32, 3, 30, 30, torch.float32)
    bias = 4 * torch.randn(1, 3, 128, 128)
    rolled = [x.roll(-shift[0], dims=1) for x in projected]
    attend = functools.partial(kernels("window_attention").window_attention, heads=3, window=window, scale=30**-0.5)
    strips = [
        attend(
            *(x[:, top : top + 8] for x in rolled),
            bias,
            shift=(shift[0] if top == 16 else 0, shift[1]),
            rows_rolled=True,
        )
        for top in (0, 8, 16)
    ]
    got = torch.cat(strips, dim=1).roll(shift[0], dims=1)
    assert difference(got, reference_attention(qkv, bias, window, shift, 3, 30**-0.5)) <= TOLERANCE[torch.float32]


CHECKS |= {
    "DAT 8x16, shifted": functools.partial(dot_product_attention, (8, 16), (4, 8), 30, torch.float32),
    "DAT 8x16, padded": functools.partial(dot_product_attention, (8, 16), None, 30, HALF, padded=32),
    "DAT 16x8, shifted, padded": functools.partial(dot_product_attention, (16, 8), (8, 4), 30, HALF, padded=32),
    "DAT 16x8": functools.partial(dot_product_attention, (16, 8), None, 30, torch.float32, image=(1, 2)),
    "DAT 8x32, shifted": functools.partial(
        dot_product_attention, (8, 32), (4, 16), 30, torch.bfloat16, image=(1, 2), heads=1
    ),
    "DAT in strips": strips_of_rows,
    "8x8, shifted": functools.partial(dot_product_attention, (8, 8), (4, 4), 16, HALF, image=(1, 3)),
    "8x8": functools.partial(dot_product_attention, (8, 8), None, 16, HALF),
}


def randomize(attention: nn.Module) -> None:
    for module in attention.modules():
        if isinstance(module, grl.RelativeAttention):
            nn.init.normal_(module.logit_scale, 1.0)
            module.derive()


def cosine_scale(attention: grl.RelativeAttention) -> Tensor:
    return attention.logit_scale.detach().clamp(max=grl.MAX_LOGIT_SCALE).exp().flatten()  # (heads,)


def grl_windows(shifted: bool) -> None:
    attention = grl.WindowAttention(heads=2, shifted=shifted)
    randomize(attention)
    qkv = torch.randn(2, 16, 24, 3 * 32)
    transform = attention.attn_transform
    got = kernels("window_attention").window_attention(
        *qkv.chunk(3, dim=-1),
        transform.bias[:1],  # the windows inside the image have no mask
        heads=2,
        window=grl.WINDOW,
        shift=grl.SHIFT if shifted else (0, 0),
        cosine_scale=cosine_scale(transform),
    )
    assert difference(got, attention(qkv).detach()) <= TOLERANCE[torch.float32]


def grl_stripes() -> None:
    attention = grl.StripeAttention(heads=2)
    randomize(attention)
    attend = functools.partial(kernels("window_attention").window_attention, heads=2)
    qkv, anchor = torch.randn(2, 16, 24, 3 * 32), torch.randn(2, 8, 12, 32)
    q, k, v = qkv.chunk(3, dim=-1)
    first, second = attention.attn_transform1, attention.attn_transform2
    scales = cosine_scale(first), cosine_scale(second)
    gathered = attend(anchor, k, v, first.bias, window=grl.STRIPE, query_window=grl.ANCHOR, cosine_scale=scales[0])
    got = attend(q, anchor, gathered, second.bias, window=grl.ANCHOR, query_window=grl.STRIPE, cosine_scale=scales[1])
    assert difference(got, attention(qkv, anchor).detach()) <= TOLERANCE[torch.float32]


CHECKS["GRL windows, shifted"] = functools.partial(grl_windows, shifted=True)
CHECKS["GRL windows"] = functools.partial(grl_windows, shifted=False)
CHECKS["GRL stripes through anchors"] = grl_stripes


# The child process and the verdicts


def _teach_bf16_products() -> None:
    """Triton 3.6's interpreter multiplies bf16 matrices as if their bits were integers."""
    import triton.language as tl
    from triton.runtime import interpreter

    multiply = interpreter.InterpreterBuilder.create_dot

    def create_dot(self: Any, a: Any, b: Any, *rest: Any) -> Any:
        widened = (self.cast_impl(x, tl.float32) if x.dtype.scalar == tl.bfloat16 else x for x in (a, b))
        return multiply(self, *widened, *rest)

    interpreter.InterpreterBuilder.create_dot = create_dot


def run_checks() -> dict[str, str]:
    """Name of each check -> its traceback, empty if it passed."""
    _teach_bf16_products()
    verdicts = {}
    for name, check in CHECKS.items():
        torch.manual_seed(0)
        try:
            check()
        except Exception:
            verdicts[name] = traceback.format_exc()
        else:
            verdicts[name] = ""
    return verdicts


@pytest.fixture(scope="module", autouse=True)
def child() -> Iterator[subprocess.Popen[str]]:
    """Starts with the first test of this file; the tests that need no verdict run meanwhile."""
    if importlib.util.find_spec("triton") is None:
        pytest.fail("These tests need triton, which torch for CUDA brings along on Linux.", pytrace=False)
    command = [sys.executable, "-c", CHILD, CONFTEST, __file__]
    env = {**os.environ, "TRITON_INTERPRET": "1"}
    with subprocess.Popen(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        yield process
        process.kill()


@pytest.fixture(scope="module")
def verdicts(child: subprocess.Popen[str]) -> dict[str, str]:
    out, errors = child.communicate(timeout=300)
    if child.returncode:
        pytest.fail(f"The child process failed:\n{errors}", pytrace=False)
    return json.loads(out)


@pytest.mark.parametrize("capability", [(8, 0), (8, 9), (9, 0), (10, 0), (12, 0)], ids=str)
def test_compiles_for_every_kind_of_gpu(
    capability: tuple[int, int], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """With tensor cores, and in the shared memory there is. The interpreter knows nothing of either."""
    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: capability)
    conv3x3, window_attention = kernels("conv3x3"), kernels("window_attention")
    kernel, options = conv3x3.choose_kernel(torch.device("cuda"), torch.float16, 64)
    launches = [Launch(kernel), Launch(window_attention._kernel)]
    monkeypatch.setattr(conv3x3, "choose_kernel", lambda *_: (launches[0], options))
    monkeypatch.setattr(window_attention, "_kernel", launches[1])
    x, weight = pixels(1, 192, 4, 4, dtype=torch.float16), pixels(64, 192, 3, 3, dtype=torch.float16)
    residual = torch.empty_like(x)[:, :64]
    conv3x3.conv3x3_into(x, weight, weight[:, 0, 0, 0].contiguous(), torch.empty_like(residual), residuals=(residual,))
    q = torch.empty(1, 8, 16, 96, dtype=torch.float16)
    bias = torch.empty(1, 3, 128, 128, dtype=torch.float16)
    window_attention.window_attention(q, q, q, bias, heads=3, window=(8, 16), shift=(4, 8))
    for launch in launches:
        compiled = launch.compile(capability)
        assert any(product in compiled.asm["ptx"] for product in ("mma.sync", "wgmma", "tcgen05.mma"))
        assert compiled.metadata.shared <= 99 * 1024


class Launch:
    """Stands in for a kernel: keeps what it is launched with."""

    def __init__(self, kernel: Any) -> None:
        self.kernel = kernel
        self.arguments: dict[str, Any] = {}

    def __getitem__(self, grid: tuple[int, ...]) -> Callable[..., None]:
        return self._keep

    def _keep(self, *args: Any, **kwargs: Any) -> None:
        self.arguments = {**dict(zip(self.kernel.arg_names, args, strict=False)), **kwargs}

    def compile(self, capability: tuple[int, int]) -> Any:
        """As Triton would at the launch: 1 becomes a constant, multiples of 16 are marked."""
        import triton
        from triton.backends.compiler import GPUTarget
        from triton.compiler import ASTSource

        signature, constants, attributes = {}, {}, {}
        for i, parameter in enumerate(self.kernel.params):
            value = self.arguments.pop(parameter.name)
            specialised = type(value) is int and not parameter.do_not_specialize
            if parameter.is_constexpr or (specialised and value == 1):
                signature[parameter.name], constants[parameter.name] = "constexpr", value
                continue
            signature[parameter.name] = {Tensor: "*fp16", float: "fp32", int: "i32"}[type(value)]
            if isinstance(value, Tensor) or (specialised and value % 16 == 0):
                attributes[(i,)] = [["tt.divisibility", 16]]
        target = GPUTarget("cuda", 10 * capability[0] + capability[1], 32)
        return triton.compile(
            ASTSource(self.kernel, signature, constants, attributes), target=target, options=self.arguments
        )


def test_availability(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)
    assert not available(torch.device("cpu"))
    for capability, expected in (((7, 5), False), ((8, 0), True), ((12, 0), True)):
        monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _, c=capability: c)
        assert available(torch.device("cuda")) == expected
    monkeypatch.setattr(torch.version, "hip", "7.0")
    assert not available(torch.device("cuda"))
    monkeypatch.setenv("TRITON_INTERPRET", "1")
    assert available(torch.device("cpu"))


@pytest.mark.parametrize("window", [(8, 64), (7, 7), (2, 4)])
def test_windows_of_a_size_that_does_not_fit_are_refused(window: windows.Window) -> None:
    tokens = window[0] * window[1]
    q = torch.zeros(1, *window, 32)
    with pytest.raises(ValueError, match="tokens from 16 to 256"):
        kernels("window_attention").window_attention(q, q, q, torch.zeros(1, 1, tokens, tokens), heads=1, window=window)


def test_convolutions_of_tensors_that_are_not_channels_last_are_refused() -> None:
    weight, bias = torch.zeros(32, 32, 3, 3), torch.zeros(32)
    good, bad = pixels(1, 32, 4, 4), torch.zeros(1, 32, 4, 4)
    cropped = pixels(1, 32, 4, 5)[..., :4]
    convolve = kernels("conv3x3").conv3x3_into
    for source, target in ((bad, good), (good, bad), (cropped, good)):
        with pytest.raises(ValueError, match="channels-last"):
            convolve(source, weight, bias, target)


@pytest.mark.parametrize("check", CHECKS)
def test_in_the_interpreter(check: str, verdicts: dict[str, str]) -> None:
    if verdicts[check]:
        pytest.fail(verdicts[check], pytrace=False)


if __name__ == "__main__":
    sys.stdout.write(json.dumps(run_checks()))
