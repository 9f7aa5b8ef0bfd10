"""Measures import times in a fresh process, printed as JSON: ComfyUI, then spandrel, then this pack's nodes.

ComfyUI imports spandrel before any pack, for its own upscale nodes, so spandrel's time is not counted as ours.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from importlib import import_module

from _common import load_comfyui, load_pack


def main() -> None:
    load_comfyui()
    seconds: dict[str, float] = {}
    started = time.perf_counter()
    import_module("nodes")
    import_module("server")
    seconds["ComfyUI's modules nodes and server"] = time.perf_counter() - started

    started = time.perf_counter()
    import_module("spandrel")
    seconds["spandrel, which ComfyUI imports too"] = time.perf_counter() - started

    started = time.perf_counter()
    load_pack()
    asyncio.run(sys.modules["apisr_pack"].comfy_entrypoint())
    seconds["this pack's nodes, after both"] = time.perf_counter() - started
    print(json.dumps(seconds))


if __name__ == "__main__":
    main()
