"""Peak activation memory per input pixel of each network: where the figures in `facts` come from.

    python dev.py bench memory [--sizes 64 96 128]

Runs each network of the zoo with random weights on the CPU, in fp32, under torch's profiler, and replays the
allocations. A figure in `facts` that is too low by 2 % or too high by 25 % makes the script end with 1.
"""

from __future__ import annotations

import argparse
import sys

import torch
from _common import load_pack
from torch import Tensor, nn
from torch.profiler import ProfilerActivity, profile


def peak_bytes(network: nn.Module, image: Tensor) -> int:
    """The most that was allocated at once during one forward pass, weights and input not counted."""
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as recorded, torch.inference_mode():
        network(image)
    events = recorded.profiler.kineto_results.events()
    held = peak = 0
    for event in sorted((e for e in events if e.name() == "[memory]"), key=lambda e: e.start_ns()):
        held += event.nbytes()
        peak = max(peak, held)
    return peak


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="+", default=[64, 128], help="sides of the square images")
    sizes = parser.parse_args().sizes
    load_pack()
    from apisr_pack.apisr_archs.registry import load_weights
    from apisr_pack.tests import reference

    wrong = 0
    print(f"{'network':32} {'size':>5} {'measured':>9} {'in facts':>9}  ratio")
    for name, make in reference.ZOO.items():
        model = load_weights(dict(make()[1]))
        claimed = model.facts.bytes_per_pixel[torch.float32]
        for size in sizes:
            measured = peak_bytes(model.model, torch.rand(1, 3, size, size)) / size**2
            ratio = claimed / measured
            wrong += not 0.98 <= ratio <= 1.25
            print(f"{name:32} {size:5} {measured:9.0f} {claimed:9}  {ratio:.2f}")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
