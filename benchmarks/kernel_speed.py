"""The Triton kernels of benchmarks/kernels against the networks' own path, on a GPU: equality and milliseconds.

    python dev.py bench kernel_speed [--side 512] [--rounds 20]

RRDB's body of six blocks, and DAT's attention in 8x16 windows as its shifted blocks have it, in fp16. Needs an NVIDIA
GPU and Triton, nothing else. Timed with CUDA events, in turn; printed are medians. What is clearly faster here belongs
into apisr_archs.
"""

from __future__ import annotations

import argparse
import statistics
import sys
from collections.abc import Callable

import torch
from _common import load_pack, save
from torch import Tensor

Run = Callable[[], Tensor]


def milliseconds(run: Run) -> float:
    """The time that one call takes on the GPU."""
    start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    start.record()
    run()
    end.record()
    torch.cuda.synchronize()
    return start.elapsed_time(end)


def rrdb_body(side: int) -> tuple[Run, Run]:
    """The networks' own path and the kernels', for the body of RRDB with 6 blocks."""
    from apisr_pack.apisr_archs.rrdb import ResidualDenseBlocks
    from apisr_pack.benchmarks.kernels import conv3x3

    body = torch.nn.Sequential(*(ResidualDenseBlocks(64, 32) for _ in range(6)))
    body = body.to("cuda", torch.float16, memory_format=torch.channels_last).requires_grad_(False)
    x = torch.randn(1, 64, side, side, device="cuda", dtype=torch.float16).contiguous(memory_format=torch.channels_last)
    return lambda: body(x), lambda: conv3x3.rrdb_body(x, body)


def dat_windows(side: int) -> tuple[Run, Run]:
    """The same for one half of the heads of a shifted block of DAT-small."""
    from apisr_pack.apisr_archs.dat_attention import WindowAttention
    from apisr_pack.benchmarks.kernels.window_attention import window_attention

    attention = WindowAttention(90, 3, (8, 16), shifted=True)
    attention.derive()
    attention = attention.to("cuda", torch.float16).requires_grad_(False)
    q, k, v = (torch.randn(1, side, side, 90, device="cuda", dtype=torch.float16) for _ in range(3))
    rolled = [x.roll(-4, dims=1) for x in (q, k, v)]

    def kernel() -> Tensor:
        bias = attention.bias[:1]
        return window_attention(q, k, v, bias, heads=3, window=(8, 16), shift=(4, 8), scale=attention.scale)

    return lambda: attention(*rolled, last_row=True).roll(4, dims=1), kernel


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--side", type=int, default=512, help="of the square input, a multiple of 16")
    parser.add_argument("--rounds", type=int, default=20)
    arguments = parser.parse_args()
    if not torch.cuda.is_available():
        sys.exit("This benchmark needs an NVIDIA GPU.")
    load_pack()
    torch.manual_seed(0)
    rows = []
    with torch.inference_mode():
        for name, make in (("RRDB body", rrdb_body), ("DAT windows", dat_windows)):
            runs = dict(zip(("network", "kernel"), make(arguments.side), strict=True))
            results = {who: run().float() for who, run in runs.items()}  # and a warm-up
            times: dict[str, list[float]] = {who: [] for who in runs}
            for _ in range(arguments.rounds):
                for who, run in runs.items():
                    times[who].append(milliseconds(run))
            medians = {f"{who}_ms": round(statistics.median(values), 3) for who, values in times.items()}
            difference = (results["network"] - results["kernel"]).norm() / results["network"].norm()
            rows.append({"part": name, "side": arguments.side, **medians, "relative_difference": float(difference)})
            print(rows[-1], flush=True)
    print(f"Saved {save('kernel_speed', rows)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
