"""What a node shows while it runs, in two short lines, and when it has ended, failed or was stopped."""

import textwrap
import time
from collections.abc import Callable
from functools import wraps
from typing import Any, ParamSpec, TypeVar

from comfy import model_management
from comfy_api.latest import io

from ..apisr_archs import ApisrError
from ..apisr_archs.errors import printable_errors
from ..apisr_archs.text import get_logger
from . import catalogue, words
from .host import Bar
from .pages import PAGES

log = get_logger(__name__)

LINE = 30
"""Characters that fit into a line of text on a node."""
SECONDS_BETWEEN = 0.4
"""Between two texts, or two previews."""
SECONDS_TO_LEARN = 2.0
"""Before this the time that is left is not known well enough to show it."""

HIDDEN = [io.Hidden.unique_id, io.Hidden.extra_pnginfo]
"""What a node must ask ComfyUI for to have a `NodeStatus`."""

_Parameters = ParamSpec("_Parameters")
_Result = TypeVar("_Result")


class NodeStatus:
    """The text on one running node. Each text replaces the one before."""

    def __init__(self, hidden: Any) -> None:
        """hidden: the node's inputs of `HIDDEN`."""
        self.node_id: str = hidden.unique_id
        self.workflow = _workflow_id(hidden.extra_pnginfo)
        self.language = PAGES.language()
        self.warning = ""
        self.last = ""

    @property
    def kept(self) -> dict[str, list[str]]:
        """The last text as a node's UI output: ComfyUI sends it again when the node is answered from its cache."""
        return {"apisr_text": [self.last]}

    def show(self, *lines: str, state: str = "running") -> None:
        self.last = "\n".join(line for line in lines if line)
        PAGES.show(self.node_id, self.last, state, self.workflow)

    def say(self, key: str, **values: Any) -> str:
        return words.say(self.language, key, **values)

    def warn(self, line: str) -> None:
        """Log what the user should see, and keep it as the second line of the last text."""
        log.warning("%s", line)
        self.warning = self.warning or brief(line)
        self.show(self.warning)

    def end(self, line: str) -> None:
        """Show how the run has ended."""
        self.show(line, self.warning, state="done")


def _workflow_id(info: object) -> str | None:
    """The id of the graph that a prompt was made from, so that its texts do not go to another one that is open."""
    workflow = info.get("workflow") if isinstance(info, dict) else None
    found = workflow.get("id") if isinstance(workflow, dict) else None
    return found if isinstance(found, str) else None


class RunStatus:
    """How far an upscaling is: the progress bar, the frame, and the time that is left."""

    def __init__(self, status: NodeStatus, count: int, height: int, width: int, done: int = 0) -> None:
        """count: pictures of the batch, of which `done` were finished before; height, width: of the result."""
        self.status = status
        self.count = count
        self.size = status.say("size", width=width, height=height)
        self.bar = Bar()
        self.started = self.shown = time.monotonic()
        self.begin = done / max(1, count)
        status.show(self._first_line(self.begin))

    def advance(self, done: float, total: int) -> None:
        """An `OnTile` of the engine."""
        self.bar.advance(done, total)
        now = time.monotonic()
        if now - self.shown < SECONDS_BETWEEN:
            return
        self.shown = now
        share = done / max(1, total)
        self.status.show(self._first_line(share), self._time_left(share, now))

    def end(self, reused: float = 0.0) -> None:
        """reused: share of the work that was saved."""
        seconds = time.monotonic() - self.started
        values: dict[str, Any] = {"time": words.duration(seconds), "count": self.count, "size": self.size}
        if self.count == 1:
            key = "done"
        else:
            key, values["reused"] = ("done_reused" if reused >= 0.005 else "done_frames"), round(100 * reused)
        self.status.end(self.status.say(key, **values))

    def frame(self, share: float) -> int:
        return min(self.count, int(share * self.count) + 1)

    def _first_line(self, share: float) -> str:
        return self.size if self.count == 1 else self.status.say("frame", n=self.frame(share), count=self.count)

    def _time_left(self, share: float, now: float) -> str:
        seconds = now - self.started
        if seconds < SECONDS_TO_LEARN or share - self.begin < 0.01:
            return ""
        left = seconds * (1 - share) / (share - self.begin)
        return self.status.say("left", time=words.duration(left))


def brief(text: str) -> str:
    """The first sentence of a text, cut to two lines that fit on a node."""
    sentence = text.split("\n", 1)[0].split(". ", 1)[0].rstrip(".")
    return "\n".join(textwrap.wrap(sentence, LINE, max_lines=2, placeholder=" ..."))


def told(execute: Callable[_Parameters, _Result]) -> Callable[_Parameters, _Result]:
    """Decorator for the `execute` of a node: an error or Cancel is also shown on the node, in its first words.

    The text of an error is made safe to write to every output (`printable_errors`).
    """

    @wraps(execute)
    def run(*args: _Parameters.args, **kwargs: _Parameters.kwargs) -> _Result:
        node: Any = args[0]
        try:
            return execute(*args, **kwargs)
        except model_management.InterruptProcessingException as stop:
            status = NodeStatus(node.hidden)
            status.show(str(stop) or status.say("stopped"), state="stopped")
            raise
        except Exception as error:
            status = NodeStatus(node.hidden)
            status.show(_in_few_words(status, error, kwargs.get("model_name")), state="failed")
            raise

    return printable_errors(run)  # outermost: the frames above it must be safe too


def _in_few_words(status: NodeStatus, error: Exception, model_name: object) -> str:
    """model_name: the entry of the model list that the node was to use, if it has one."""
    key = error.key if isinstance(error, ApisrError) else ""
    if not key:
        return brief(str(error))
    line = status.say(f"error_{key}", subject=catalogue.short_name(str(model_name or "")))
    return "\n".join(textwrap.wrap(line.strip(" :"), LINE, max_lines=2, placeholder=" ..."))
