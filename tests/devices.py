"""Where the engine's tests run: on the CPU, and on a GPU that torch can use, if there is one."""

from __future__ import annotations

import torch

DEVICES = ("cpu", *(["cuda"] if torch.cuda.is_available() else []))
