"""The downloader against a real HTTP server that behaves badly: after a failure the folder is as it was."""

from __future__ import annotations

import hashlib
import os
import random
import re
import tempfile
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from apisr_pack.apisr_archs.errors import DownloadFailed
from apisr_pack.apisr_archs.files.download import download
from apisr_pack.apisr_archs.files.zoo import ZooModel
from apisr_pack.tests.unit.http_server import FileServer, Request, body, running, silence, status

BODY = random.Random(1).randbytes(300_000)  # noqa: S311 - not for secrets
WRONG = BODY[:-1] + bytes([BODY[-1] ^ 1])
NAME = "4x_test.pth"
HOST_SUFFIXES = {".ckpt", ".pt", ".pt2", ".bin", ".pth", ".safetensors", ".pkl", ".sft"}


def zoo_model(server: FileServer, *urls: str, size: int = len(BODY)) -> ZooModel:
    """A known file with BODY as its content, at those addresses (of `server` unless they are whole)."""
    return ZooModel(
        file=NAME,
        title="Test",
        architecture="RRDB",
        scale=4,
        parameters=1,
        bytes=size,
        sha256=hashlib.sha256(BODY).hexdigest(),
        urls=tuple(url if "://" in url else server.address + url for url in urls),
        licence="CC0-1.0",
        homepage=server.address,
    )


@pytest.fixture
def server() -> Iterator[FileServer]:
    with running() as server:
        yield server


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "upscale_models"
    folder.mkdir()
    (folder / "other.pth").write_bytes(b"the user's own")
    return folder


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def failure(model: ZooModel, folder: Path, **options: object) -> str:
    """The text of the error; checks that the failed download left nothing behind."""
    before = contents(folder)
    with pytest.raises(DownloadFailed) as caught:
        download(model, folder, **options)  # type: ignore[arg-type]
    assert contents(folder) == before
    return str(caught.value)


def assert_downloaded(model: ZooModel, folder: Path, **options: object) -> None:
    before = contents(folder)
    assert download(model, folder, **options) == folder / NAME  # type: ignore[arg-type]
    assert contents(folder) == {**before, NAME: BODY}


def test_right_file_with_progress(server: FileServer, folder: Path) -> None:
    server.answers = {"/a": [body(BODY)]}
    progress: list[tuple[int, int]] = []
    assert_downloaded(zoo_model(server, "/a"), folder, on_progress=lambda *step: progress.append(step))
    assert progress[0] == (0, len(BODY))
    assert progress[-1] == (len(BODY), len(BODY))
    assert progress == sorted(progress)
    assert server.seen == [("/a", None)]
    # readable by the same people as any new file, unlike what tempfile makes
    assert (folder / NAME).stat().st_mode == (folder / "other.pth").stat().st_mode


def test_redirect_is_followed(server: FileServer, folder: Path) -> None:
    server.answers = {"/a": [status(302, Location="/b")], "/b": [body(BODY)]}
    assert_downloaded(zoo_model(server, "/a"), folder)


def test_body_without_a_length(server: FileServer, folder: Path) -> None:
    server.answers = {"/a": [body(BODY, length=False)]}
    assert_downloaded(zoo_model(server, "/a"), folder)


FIRST_ADDRESS_FAILS = {
    "other content": ([body(WRONG)], r"sha256 [0-9a-f]{64} instead of [0-9a-f]{64}"),
    "short file": ([body(BODY[:-1])], "offers 299999 bytes instead of 300000"),
    "long file": ([body(BODY + b"!")], "offers 300001 bytes instead of 300000"),
    "long file of no declared length": ([body(b"!" + BODY, length=False)], "sha256"),
    "404": ([status(404)], "HTTP 404 Not Found"),
    "500": ([status(500)], "HTTP 500"),
    "redirect in a circle": ([status(302, Location="/a")], "redirects"),
    "cut for ever": ([body(BODY, sends=1000)], "296000 bytes were still to come"),
    "cut before the first byte": ([body(BODY, sends=0)], "300000 bytes were still to come"),
    "nothing after a cut": ([body(BODY, sends=1000), status(503)], "HTTP 503"),
    "ranges of another file": (
        [body(BODY, sends=1000), body(BODY + b"!")],
        r"got \"bytes 1000-300000/300001",
    ),
    "206 unasked": ([status(206, Content_Range="bytes 5-299999/300000")], r"got \"bytes 5-"),
    "no answer": ([silence], "no data for 0.2 s"),
    "silent in the middle": ([body(BODY, sends=1000, stalls=True)], "no data for 0.2 s"),
}


@pytest.mark.parametrize(("answers", "reason"), FIRST_ADDRESS_FAILS.values(), ids=FIRST_ADDRESS_FAILS.keys())
def test_bad_address(server: FileServer, folder: Path, answers: list[Callable[[Request], None]], reason: str) -> None:
    """Alone, it is an error with all details; followed by a good address, it does no harm."""
    server.answers = {"/a": list(answers), "/b": [status(410)]}
    model = zoo_model(server, "/a", "/b")
    message = failure(model, folder, timeout=(5.0, 0.2))
    assert re.search(reason, message)
    for part in (*model.urls, "HTTP 410", str(folder), NAME, "300000 bytes", model.sha256, "by hand"):
        assert part in message

    server.answers = {"/a": list(answers), "/b": [body(BODY)]}
    assert_downloaded(model, folder, timeout=(5.0, 0.2))


def test_nobody_listens(server: FileServer, folder: Path) -> None:
    with FileServer() as gone:
        nobody = f"{gone.address}/a"
    server.answers = {"/b": [body(BODY)]}
    assert "no connection; is this machine online?" in failure(zoo_model(server, nobody), folder)
    assert_downloaded(zoo_model(server, nobody, "/b"), folder)


def test_cut_connection_resumes_where_it_stopped(server: FileServer, folder: Path) -> None:
    server.answers = {"/a": [body(BODY, sends=100_001), body(BODY, sends=7), body(BODY)]}
    assert_downloaded(zoo_model(server, "/a"), folder)
    # each range starts where the bytes sent so far end: none was fetched twice
    assert server.seen == [("/a", None), ("/a", "bytes=100001-"), ("/a", "bytes=100008-")]


def test_connection_that_brings_nothing_is_not_tried_again(server: FileServer, folder: Path) -> None:
    server.answers = {"/a": [body(BODY, sends=0)]}
    failure(zoo_model(server, "/a"), folder)
    assert server.seen == [("/a", None)]


def test_silent_connection_resumes_too(server: FileServer, folder: Path) -> None:
    server.answers = {"/a": [body(BODY, sends=100_001, stalls=True), body(BODY)]}
    assert_downloaded(zoo_model(server, "/a"), folder, timeout=(5.0, 0.2))
    assert server.seen == [("/a", None), ("/a", "bytes=100001-")]


def test_server_that_ignores_ranges_starts_again(server: FileServer, folder: Path) -> None:
    server.answers = {"/a": [body(WRONG, sends=100_001), body(BODY, ranges=False)]}
    assert_downloaded(zoo_model(server, "/a"), folder)
    assert server.seen == [("/a", None), ("/a", "bytes=100001-")]


def test_never_more_bytes_than_expected(server: FileServer, folder: Path) -> None:
    server.answers = {"/a": [body(WRONG + BODY, length=False)]}
    most: list[int] = []
    failure(zoo_model(server, "/a"), folder, on_progress=lambda *step: most.append(step[0]))
    assert max(most) == len(BODY)


class Interrupt(BaseException):
    """Like ComfyUI's InterruptProcessingException: cleaning up must not depend on `except Exception`."""


def test_interrupt_in_the_middle(server: FileServer, folder: Path) -> None:
    server.answers = {"/a": [body(BODY)]}
    before = contents(folder)
    during: list[str] = []

    def interrupt(done: int, total: int) -> None:
        if done > 0:
            during.extend(path.name for path in folder.iterdir())
            raise Interrupt

    with pytest.raises(Interrupt):
        download(zoo_model(server, "/a", "/a"), folder, on_progress=interrupt)
    assert contents(folder) == before
    assert len(during) == 2
    assert [name for name in during if Path(name).suffix in HOST_SUFFIXES] == ["other.pth"]
    assert len(server.seen) == 1


def test_cancelled_in_the_middle(server: FileServer, folder: Path) -> None:
    server.answers = {"/a": [body(BODY)]}
    asked = iter([False, False, True])
    message = failure(zoo_model(server, "/a", "/a"), folder, is_cancelled=lambda: next(asked))
    assert "cancelled" in message
    assert len(server.seen) == 1


@pytest.mark.parametrize("value", ["1", "true", " Yes "])
def test_offline_switch(server: FileServer, folder: Path, monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv("APISR_OFFLINE", value)
    model = zoo_model(server, "/a", "/b")
    message = failure(model, folder)
    for part in ("APISR_OFFLINE", *model.urls, str(folder), NAME, "300000 bytes", model.sha256):
        assert part in message
    assert server.seen == []


@pytest.mark.parametrize("value", ["", "0", "false"])
def test_offline_switch_off(server: FileServer, folder: Path, monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv("APISR_OFFLINE", value)
    server.answers = {"/a": [body(BODY)]}
    assert_downloaded(zoo_model(server, "/a"), folder)


def test_right_file_that_is_there_is_left_alone(
    server: FileServer, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("APISR_OFFLINE", "1")
    (folder / NAME).write_bytes(BODY)
    before = (folder / NAME).stat()
    assert_downloaded(zoo_model(server, "/a"), folder)
    after = (folder / NAME).stat()
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
    assert server.seen == []


@pytest.mark.parametrize("own", [WRONG, b"short"])
def test_other_file_of_that_name_is_never_replaced(server: FileServer, folder: Path, own: bytes) -> None:
    (folder / NAME).write_bytes(own)
    message = failure(zoo_model(server, "/a"), folder)
    assert f"{folder / NAME} exists" in message
    assert "Rename or delete" in message
    assert server.seen == []


def test_other_file_that_appears_meanwhile_is_never_replaced(server: FileServer, folder: Path) -> None:
    server.answers = {"/a": [body(BODY)]}
    with pytest.raises(DownloadFailed, match="exists"):
        download(zoo_model(server, "/a"), folder, on_progress=lambda *_: (folder / NAME).write_bytes(WRONG))
    assert contents(folder) == {"other.pth": b"the user's own", NAME: WRONG}


def test_folder_is_made_and_unmade(server: FileServer, folder: Path) -> None:
    server.answers = {"/a": [status(404)], "/b": [body(BODY)]}
    new = folder / "new"
    with pytest.raises(DownloadFailed, match="404"):
        download(zoo_model(server, "/a"), new)
    assert not new.exists()
    download(zoo_model(server, "/b"), new)
    assert contents(new) == {NAME: BODY}


@pytest.mark.parametrize("place", ["missing/new", "other.pth", "other.pth/new"])
def test_impossible_folder(server: FileServer, folder: Path, place: str) -> None:
    before = contents(folder)
    with pytest.raises(DownloadFailed, match="Could not save") as caught:
        download(zoo_model(server, "/a"), folder / place)
    assert str(folder / place) in str(caught.value)
    assert contents(folder) == before
    assert server.seen == []


def test_too_little_space(server: FileServer, folder: Path) -> None:
    message = failure(zoo_model(server, "/a", size=10**18), folder)
    assert "No room" in message
    assert "1000000000000.0 MB" in message
    assert server.seen == []


if os.name == "posix":  # Windows has neither folders closed by permission bits nor a limit on file size
    import resource

    @pytest.fixture
    def read_only_folder() -> Iterator[Path]:
        """Permission bits do not bind root, so root becomes nobody, who could not even enter tmp_path."""
        folder = Path(tempfile.mkdtemp())
        folder.chmod(0o555)
        if os.getuid() == 0:
            os.seteuid(65534)
        yield folder
        os.seteuid(os.getuid())
        folder.rmdir()

    def test_read_only_folder(server: FileServer, read_only_folder: Path) -> None:
        message = failure(zoo_model(server, "/a"), read_only_folder)
        assert f"Could not save {NAME} in {read_only_folder}: Permission denied" in message
        assert server.seen == []

    def test_write_error_in_the_middle(server: FileServer, folder: Path) -> None:
        """A limit on file size stands for a full disk: write() fails halfway."""
        server.answers = {"/a": [body(BODY)]}
        before = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, before[1]))
        try:
            message = failure(zoo_model(server, "/a", "/a"), folder)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)
        assert f"Could not save {NAME} in {folder}: File too large" in message
        assert len(server.seen) == 1


def test_downloads_at_the_same_time(server: FileServer, folder: Path) -> None:
    server.answers = {"/a": [body(BODY)]}
    at_once = threading.Barrier(4)

    def meet(done: int, total: int) -> None:
        if done == total:
            at_once.wait(30)

    with ThreadPoolExecutor(4) as pool:
        runs = [pool.submit(download, zoo_model(server, "/a"), folder, on_progress=meet) for _ in range(4)]
        assert [run.result() for run in runs] == [folder / NAME] * 4
    assert contents(folder) == {"other.pth": b"the user's own", NAME: BODY}


def test_parts_of_killed_runs_are_removed_and_live_ones_kept(server: FileServer, folder: Path) -> None:
    server.answers = {"/a": [body(BODY)]}
    dead, live = folder / f".{NAME}.dead.part", folder / f".{NAME}.live.part"
    dead.touch()
    live.touch()
    os.utime(dead, (0, 0))
    download(zoo_model(server, "/a"), folder)
    assert sorted(contents(folder)) == sorted([live.name, NAME, "other.pth"])


def test_a_broken_link_is_the_users_and_stays(server: FileServer, folder: Path, tmp_path: Path) -> None:
    server.answers["/a"] = [body(BODY)]
    link, target = folder / NAME, tmp_path / "not there.pth"
    link.symlink_to(target)
    with pytest.raises(DownloadFailed, match=r"is a broken link: its target .*not there.pth is not there"):
        download(zoo_model(server, "/a"), folder)
    assert link.is_symlink()
    assert not target.exists()
    assert not server.seen
