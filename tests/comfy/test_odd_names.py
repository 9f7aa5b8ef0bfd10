"""Names that the log cannot write: an error, and the server goes on. (Before, ComfyUI's worker ended: all hung.)"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest
from apisr_pack.tests.comfy import workflows as wf
from apisr_pack.tools.comfy_server import ExecutionFailed

if TYPE_CHECKING:
    from apisr_pack.tools.comfy_server import ComfyServer

SECONDS = 60
"""A server that hangs would never answer."""


def message(server: ComfyServer, prompt: wf.Prompt) -> str:
    """The text of the error that a workflow gives; there must be one."""
    with pytest.raises(ExecutionFailed) as caught:
        server.run(prompt, timeout=SECONDS)
    return caught.value.details["exception_message"]


def goes_on(server: ComfyServer, left: int) -> None:
    """A picture that the server has never seen comes out upscaled."""
    picture = wf.send(server, wf.crop(16, 16, left=left), f"fresh {left}.png")
    result = server.run(wf.ours(wf.BUNDLED, picture), timeout=SECONDS)
    assert [frame.shape for frame in wf.saved(server, result)] == [(64, 64, 3)]


@pytest.mark.parametrize("encoding", ["cp1252", "ascii"])
def test_a_log_that_lacks_the_characters(comfy_server: Callable[..., ComfyServer], encoding: str) -> None:
    server = comfy_server(env={"PYTHONIOENCODING": encoding, "APISR_OFFLINE": "1"})
    damaged, not_utf8 = "4x_アニメ.pth", os.fsdecode(b"4x_\xe9\xff.pth")
    for name in (damaged, not_utf8):
        (server.models_dir / name).write_bytes(b"\x80\x02broken")
    picture = wf.send(server, wf.crop(16, 16), "names.png")

    assert "\\u6a21\\u578b" in message(server, wf.ours("模型_不在.pth", picture))
    goes_on(server, 1)
    assert "4x_\\u30a2\\u30cb\\u30e1.pth is damaged" in message(server, wf.ours(damaged, picture))
    goes_on(server, 2)
    assert "\\udcff.pth is damaged" in message(server, wf.ours(not_utf8, picture))
    goes_on(server, 3)
    bad_value = wf.ours(wf.BUNDLED, picture, resize_to=("thing", 0))
    bad_value["thing"] = wf.node("TestingAnything", what="Chinese")
    assert message(server, bad_value).startswith("resize_to is '\\u6a21")
    goes_on(server, 4)

    for number, name in enumerate(("断.pth", os.fsdecode(b"\xe9\xfe.pth"))):
        (server.models_dir / name).symlink_to(server.models_dir / "drive" / name)
        assert "is a broken link" in message(server, wf.ours(name, picture))
        goes_on(server, 5 + number)

    wf.write_compact(server.models_dir / "好.pth", seed=8)
    result = server.run(wf.ours("好.pth", picture), timeout=SECONDS)
    assert len(wf.saved(server, result)) == 1
    assert "\\u597d.pth: Compact 4x" in server.log_text
    assert "Logging error" not in server.log_text


def test_a_log_that_has_the_characters_shows_them(comfy: ComfyServer) -> None:
    picture = wf.send(comfy, wf.crop(16, 16), "names.png")
    assert "'模型_不在.pth'" in message(comfy, wf.ours("模型_不在.pth", picture))
    assert "模型_不在.pth" in comfy.log_text
    not_utf8 = os.fsdecode(b"4x_\xe9.pth")
    (comfy.models_dir / not_utf8).write_bytes(b"\x80\x02broken")
    assert "4x_\\udce9.pth is damaged" in message(comfy, wf.ours(not_utf8, picture))
    goes_on(comfy, 5)


def test_a_pack_in_a_folder_that_the_log_lacks(comfy_server: Callable[..., ComfyServer]) -> None:
    """Tracebacks name the files of the pack too."""
    server = comfy_server(env={"PYTHONIOENCODING": "cp1252", "APISR_OFFLINE": "1"}, folder="模型")
    picture = wf.send(server, wf.crop(16, 16), "folder.png")
    assert "There is no model 'gone.pth'" in message(server, wf.ours("gone.pth", picture))
    goes_on(server, 6)
