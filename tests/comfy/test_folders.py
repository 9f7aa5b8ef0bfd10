"""Folders of upscale models that are gone, links to nothing, and downloads into what is left."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from apisr_pack.apisr_archs.files import zoo
from apisr_pack.tests.comfy import workflows as wf
from apisr_pack.tests.unit.http_server import FileServer, body, running
from apisr_pack.tools.comfy_server import ExecutionFailed

if TYPE_CHECKING:
    from apisr_pack.tools.comfy_server import ComfyServer, RunResult

KNOWN = zoo.ZOO[0]
GONE = Path("/mnt/D_drive/AI")
READ_ONLY = Path("/proc/tty")
"""A folder that is there, on Linux, in which not even root can make a file."""


@pytest.fixture(scope="module")
def files() -> Iterator[FileServer]:
    with running() as server:
        yield server


@pytest.fixture(scope="module")
def server(start_comfy: Callable[..., ComfyServer], tmp_path_factory: pytest.TempPathFactory) -> Iterator[ComfyServer]:
    """A ComfyUI whose first two folders of upscale models are read-only and on a drive that is not there."""
    config = tmp_path_factory.mktemp("config") / "extra_model_paths.yaml"
    lines = f"{READ_ONLY}\n{GONE / 'upscale_models'}"
    paths = {"base_path": str(GONE), "is_default": True, "upscale_models": lines}
    config.write_text(json.dumps({"drive": paths}))  # JSON is YAML
    with start_comfy("--extra-model-paths-config", str(config)) as server:
        folders = {folder["name"]: folder["folders"] for folder in server.get_json("/experiment/models")}
        assert folders["upscale_models"][:2] == [str(GONE / "upscale_models"), str(READ_ONLY)]
        yield server


def serve(server: ComfyServer, files: FileServer, content: bytes) -> None:
    """Makes `content` the published file KNOWN, at an address of this machine."""
    files.answers[f"/{KNOWN.file}"] = [body(content)]
    digest = hashlib.sha256(content).hexdigest()
    node = wf.node("TestingZoo", url=f"{files.address}/{KNOWN.file}", bytes=len(content), sha256=digest)
    server.run({"zoo": node})


def compact(folder: Path, seed: int) -> bytes:
    wf.write_compact(folder / "content", seed)
    return (folder / "content").read_bytes()


def workflow(server: ComfyServer, download: bool = True) -> wf.Prompt:
    picture = wf.send(server, wf.crop(16, 24), "folders.png")
    return wf.ours("", picture, loader=wf.our_loader(KNOWN.file, download=download))


def message(server: ComfyServer, prompt: wf.Prompt) -> str:
    with pytest.raises(ExecutionFailed) as caught:
        server.run(prompt)
    return caught.value.details["exception_message"]


def started(result: RunResult) -> set[str]:
    """The nodes that ran, rather than being answered from ComfyUI's cache."""
    return {event["data"]["node"] for event in result.events if event["type"] == "executing"} - {None}


def test_a_first_download_goes_where_it_can_and_its_graph_does_not_run_again(
    server: ComfyServer, files: FileServer, tmp_path: Path
) -> None:
    serve(server, files, compact(tmp_path, seed=11))
    prompt = workflow(server)
    assert {"model", "upscaled"} <= started(server.run(prompt))
    assert [path.name for path in server.models_dir.iterdir()] == [KNOWN.file]
    assert not GONE.exists()
    assert not started(server.run(prompt)) & {"model", "upscaled"}

    # the same content, written anew
    path = server.models_dir / KNOWN.file
    os.utime(path, (1, 1))
    assert not started(server.run(prompt)) & {"model", "upscaled"}

    # another content of the same size, as a model of the same shape has it
    other = compact(tmp_path, seed=12)
    assert len(other) == path.stat().st_size
    before = wf.run(server, prompt)
    path.write_bytes(other)
    result = server.run(prompt)
    assert {"model", "upscaled"} <= started(result)
    assert wf.steps_apart(wf.saved(server, result)[0], before) > 20
    assert f"{path} is not the published file: sha256 " in server.log_text
    path.unlink()


def test_a_file_that_is_put_there_by_hand_is_found(server: ComfyServer, files: FileServer, tmp_path: Path) -> None:
    content = compact(tmp_path, seed=13)
    serve(server, files, content)
    prompt = workflow(server, download=False)
    said = message(server, prompt)
    assert f"is not in {server.models_dir}." in said
    assert f"put it in {server.models_dir}." in said
    assert "D_drive" not in said
    path = server.models_dir / KNOWN.file
    path.write_bytes(content)
    assert {"model", "upscaled"} <= started(server.run(prompt))
    path.unlink()
    assert "is not in" in message(server, prompt)


def test_advice_names_folders_that_are_there(server: ComfyServer) -> None:
    picture = wf.send(server, wf.crop(16, 24), "folders.png")
    said = message(server, wf.ours("gone.pth", picture))
    assert f"There is no model 'gone.pth' in {READ_ONLY} or {server.models_dir}. Put" in said


@pytest.mark.parametrize("name", ["mine.pth", KNOWN.file])
def test_a_broken_link_is_called_one(server: ComfyServer, name: str, tmp_path: Path) -> None:
    link, target = server.models_dir / name, tmp_path / "not there.pth"
    link.symlink_to(target)
    for download in (True, False):
        picture = wf.send(server, wf.crop(16, 24), "folders.png")
        said = message(server, wf.ours("", picture, loader=wf.our_loader(name, download=download)))
        assert f"{link} is a broken link: its target {target} is not there" in said
    assert link.is_symlink()
    assert (
        name
        in server.get_json("/object_info/APISRModelLoader")["APISRModelLoader"]["input"]["required"]["model_name"][1][
            "options"
        ]
    )
    wf.write_compact(target, seed=14)
    assert wf.run(server, wf.ours(name, picture)).shape == (64, 96, 3)
    link.unlink()


def test_a_folder_that_goes_while_the_server_runs(server: ComfyServer, files: FileServer, tmp_path: Path) -> None:
    serve(server, files, compact(tmp_path, seed=15))
    server.get_json("/object_info/APISRModelLoader")  # ComfyUI remembers the folder
    shutil.rmtree(server.models_dir)
    assert server.get_json("/object_info/APISRModelLoader")["APISRModelLoader"]["display_name"] == "Load APISR Model"
    picture = wf.send(server, wf.crop(16, 24), "folders.png")
    assert "There is no model 'gone.pth'" in message(server, wf.ours("gone.pth", picture))
    assert wf.run(server, workflow(server)).shape == (64, 96, 3)
    assert [path.name for path in server.models_dir.iterdir()] == [KNOWN.file], "the folder is made anew"


def test_folders_that_are_none_are_called_what_they_are(
    comfy_server: Callable[..., ComfyServer],
) -> None:
    """No folder of upscale models is there: the advice is not to put a file into it."""
    server = comfy_server()
    picture, folder = wf.send(server, wf.crop(16, 24), "folders.png"), server.models_dir

    def said() -> str:
        return message(server, wf.ours("later.pth", picture))

    shutil.rmtree(folder)
    assert f"There is no model 'later.pth', and no folder for it: {folder} does not exist. Make the folder" in said()
    folder.write_bytes(b"")
    assert f"{folder} is a file" in said()
    folder.unlink()
    folder.symlink_to(folder.parent / "gone")
    assert f"{folder} is a broken link (to {folder.parent / 'gone'})" in said()
    folder.unlink()
    known = message(server, wf.ours("", picture, loader=wf.our_loader(KNOWN.file, download=False)))
    assert f"put it in {folder} (make that folder first)." in known
    folder.mkdir()
    assert f"There is no model 'later.pth' in {folder}. Put the file there" in said()
