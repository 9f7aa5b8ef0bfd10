"""torch's layers without initialization, for networks whose weights always come from a file.

Building DAT's 900 modules with torch's own layers takes four times as long, for random numbers that are overwritten.
"""

from collections.abc import Mapping
from typing import Any

from torch import nn
from typing_extensions import override


class _Unfilled:
    """Mixin, to be the first base class: skips torch's random initialization."""

    def reset_parameters(self) -> None:
        """Leave the weights as they are."""


class Conv2d(_Unfilled, nn.Conv2d):
    pass


class Linear(_Unfilled, nn.Linear):
    pass


class LayerNorm(_Unfilled, nn.LayerNorm):
    pass


class BatchNorm2d(_Unfilled, nn.BatchNorm2d):
    pass


class FilledNetwork(nn.Module):
    """Base class of the networks. Built on the device "meta" it has no storage, and adopts the weights it loads."""

    @override
    def load_state_dict(self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False) -> Any:
        is_empty = next(self.parameters()).is_meta  # copying into meta tensors would do nothing
        return super().load_state_dict(state_dict, strict, assign or is_empty)
