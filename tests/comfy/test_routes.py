"""What pages ask the server: the model list, estimates that come true, and downloads by id only."""

from __future__ import annotations

import hashlib
import json
import shutil
import time
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

import pytest
import requests
from apisr_pack.apisr_archs.files import zoo
from apisr_pack.tests import reference
from apisr_pack.tests.comfy import workflows as wf
from apisr_pack.tests.unit import http_server
from apisr_pack.tools.comfy_server import ExecutionFailed

if TYPE_CHECKING:
    from collections.abc import Callable

    from apisr_pack.tools.comfy_server import ComfyServer, Event

FIRST = zoo.ZOO[0]


def estimate(server: ComfyServer, **query: object) -> dict[str, Any]:
    return server.get_json(
        "/apisr/estimate?" + urlencode({"node": "APISRUpscale", "model": wf.BUNDLED, "count": 1, **query})
    )


def entry(server: ComfyServer, name: str) -> dict[str, Any]:
    return server.get_json("/apisr/models?" + urlencode({"name": name}))["models"][0]


def post(server: ComfyServer, path: str, data: bytes, **headers: str) -> int:
    return requests.post(
        server.address + path, data=data, headers={"Content-Type": "application/json", **headers}, timeout=30
    ).status_code


@pytest.mark.parametrize(
    ("inputs", "size"),
    [
        ({}, "120 x 80"),
        ({"resize_to": "factor", "resize_to.factor": 1.5, "multiple_of": 8}, "48 x 32"),
        ({"resize_to": "longer side", "resize_to.pixels": 200}, "200 x 133"),
        ({"resize_to": "shorter side"}, "1620 x 1080"),
        ({"resize_to": "megapixels", "resize_to.megapixels": 0.05}, "280 x 187"),
    ],
)
def test_the_size_is_that_of_the_run(comfy: ComfyServer, inputs: dict[str, Any], size: str) -> None:
    answer = estimate(comfy, width=30, height=20, **inputs)
    assert answer["lines"][0] == size
    result = wf.run(comfy, wf.ours(wf.BUNDLED, wf.send(comfy, wf.crop(20, 30), "sized.png"), **inputs))
    assert result.shape == (answer["height"], answer["width"], 3)


def test_without_a_picture_the_scale_is_all_that_is_known(comfy: ComfyServer) -> None:
    assert estimate(comfy)["lines"] == ["4x"]
    assert estimate(comfy, model="2x_APISR_RRDB_GAN_generator.pth")["lines"] == ["2x"]
    assert estimate(comfy, resize_to="factor")["lines"] == []
    assert estimate(comfy, model="nobody.pth")["lines"] == []
    assert estimate(comfy, model="nobody.pth", width=30, height=20, resize_to="factor")["lines"] == ["60 x 40"]


def test_an_input_from_another_node_is_not_guessed(comfy: ComfyServer) -> None:
    query = [("node", "APISRUpscale"), ("model", wf.BUNDLED), ("width", 30), ("height", 20), ("resize_to", "factor")]
    answer = comfy.get_json("/apisr/estimate?" + urlencode([*query, ("unknown", "resize_to.factor")]))
    assert answer["lines"] == []


def test_what_depends_on_other_nodes_is_not_guessed(comfy: ComfyServer) -> None:
    query = [("node", "APISRUpscale"), ("model", wf.BUNDLED), ("width", 30), ("height", 20)]
    for more in ([("count", 1), ("unknown", "tile_size")], []):  # nor how many pictures there are
        assert comfy.get_json("/apisr/estimate?" + urlencode([*query, *more]))["lines"] == ["120 x 80"]


def test_sizes_of_no_picture_cost_nothing(comfy: ComfyServer) -> None:
    started = time.monotonic()
    assert estimate(comfy, width=1, height=10**10)["lines"] == ["4x"]
    assert estimate(comfy, width=4, height=70000)["lines"] == ["4x"]
    assert len(estimate(comfy, width=100, height=100, multiple_of=10**18)["lines"]) == 1
    estimate(comfy, width=65536, height=65536)
    assert time.monotonic() - started < 20, "the first one would have taken all memory"


def test_a_video_is_counted_frame_by_frame(comfy: ComfyServer) -> None:
    one, many = (estimate(comfy, node="APISRUpscaleVideo", width=480, height=360, count=count) for count in (1, 100))
    assert one["bytes"] == many["bytes"]
    assert not [line for line in many["lines"] if "huge" in line]
    query = {"node": "APISRUpscaleVideo", "model": wf.BUNDLED, "width": 480, "height": 360}
    uncounted = comfy.get_json("/apisr/estimate?" + urlencode(query))
    assert (uncounted["bytes"], uncounted["seconds"]) == (one["bytes"], None)


def test_memory_has_the_result_in_it(comfy: ComfyServer) -> None:
    small, large = (estimate(comfy, width=256, height=256, count=count)["bytes"] for count in (1, 101))
    assert large - small == pytest.approx(100 * 1024 * 1024 * 3 * 4, rel=0.01)


def test_huge_results_are_called_huge(comfy: ComfyServer) -> None:
    lines = estimate(comfy, width=384, height=288, resize_to="factor", **{"resize_to.factor": 100})["lines"]
    assert lines[0] == "38400 x 28800"
    assert lines[1].startswith("huge: 1106 megapixels, ")
    assert "huge" not in estimate(comfy, width=384, height=288)["lines"][1]


def test_a_wrong_input_is_said_in_the_words_of_the_run(comfy: ComfyServer) -> None:
    lines = estimate(comfy, width=30, height=20, resize_to="longer side", **{"resize_to.pixels": 2})["lines"]
    assert " ".join(lines).startswith("resize_to is 'longer side', of 2 pixels")
    assert estimate(comfy, width=30, height=20, tile_size="many")["lines"][0].startswith("tile_size is 'many'")
    assert estimate(comfy, width=-3, height="x")["lines"]


def test_time_is_known_after_a_run_and_stays_known(comfy: ComfyServer) -> None:
    _, weights = reference.rrdb()
    wf.write_official(comfy.models_dir / "paced.pth", weights)
    assert estimate(comfy, model="paced.pth", width=128, height=96)["lines"] == []
    comfy.run(wf.ours("paced.pth", wf.send(comfy, wf.crop(16, 16), "short.png")))
    assert estimate(comfy, model="paced.pth", precision="fp32", width=256, height=192)["seconds"] is None, "too short"
    comfy.run(wf.ours("paced.pth", wf.send(comfy, wf.crop(192, 256, top=90, left=120), "paced.png")))
    answer = estimate(comfy, model="paced.pth", precision="fp32", width=256, height=192)
    assert answer["lines"][0] == "1024 x 768"
    assert ", about " in answer["lines"][1]
    started = time.monotonic()
    comfy.run(wf.ours("paced.pth", wf.send(comfy, wf.crop(192, 256, top=90, left=90), "paced2.png")))
    assert 0.2 < answer["seconds"] / (time.monotonic() - started) < 5
    assert "paced.pth" in (comfy.base / "user" / "__apisr" / "pace.json").read_text()


def test_a_damaged_pace_file_is_made_anew(comfy: ComfyServer) -> None:
    path = comfy.base / "user" / "__apisr" / "pace.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("[1, 2")
    assert estimate(comfy, width=20, height=20)["seconds"] is None
    _, weights = reference.rrdb()
    wf.write_official(comfy.models_dir / "anew.pth", weights)
    comfy.run(wf.ours("anew.pth", wf.send(comfy, wf.crop(192, 256, top=90, left=77), "anew.png")))
    assert json.loads(path.read_text())


def test_the_list_says_what_each_model_is(comfy: ComfyServer) -> None:
    listed = comfy.get_json("/apisr/models")["models"]
    models = {model["name"]: entry(comfy, model["name"]) for model in listed}
    offered = comfy.get_json("/object_info/APISRModelLoader")["APISRModelLoader"]["input"]["required"]["model_name"]
    assert list(models) == offered[1]["options"]
    labels = [model["label"] for model in listed]
    assert len(set(labels)) == len(labels)
    assert sum("recommended" in label for label in labels) == 1
    bundled = models[wf.BUNDLED]
    assert (bundled["id"], bundled["present"], bundled["origin"]) == (None, True, "bundled")
    assert bundled["lines"] == ["Compact 4x, 0.62 M", "1.3 MB, bundled, BSD-3-Clause"]
    dat = models["4x_APISR_DAT_GAN_generator.pth"]
    assert (dat["id"], dat["present"]) == ("4x_APISR_DAT_GAN_generator.pth", False)
    assert dat["lines"] == ["DAT 4x, 10.89 M", "87.0 MB to fetch, GPL-3.0"]


def test_an_altered_file_and_an_unknown_one_are_called_so(comfy: ComfyServer) -> None:
    stem = "RealESRGAN_x4plus_anime_6B"
    wf.write_compact(comfy.models_dir / f"{stem}.pth", seed=4)
    assert entry(comfy, f"{stem}.pth")["origin"] == "altered"
    (comfy.models_dir / f"{stem}.pth").unlink()
    wf.write_compact(comfy.models_dir / "mine.pth", seed=4)
    assert entry(comfy, "mine.pth")["origin"] == "unknown"
    comfy.run(wf.ours("mine.pth", wf.send(comfy, wf.crop(16, 16), "mine.png")))
    assert entry(comfy, "mine.pth")["lines"][0] == "Compact 4x, 0.62 M"
    gone = entry(comfy, "gone.pth")
    assert (gone["present"], gone["lines"]) == (False, ["gone.pth is not here"])


def test_models_of_the_earlier_packs_folder_are_listed_and_load(comfy: ComfyServer) -> None:
    folder = comfy.base / "models" / "apisr"
    folder.mkdir(parents=True)
    wf.write_compact(folder / "legacy.pth", seed=9)
    try:
        assert entry(comfy, "legacy.pth")["present"]
        assert wf.run(comfy, wf.ours("legacy.pth", wf.send(comfy, wf.crop(16, 16), "legacy.png"))).shape == (64, 64, 3)
    finally:
        shutil.rmtree(folder)


def test_downloads_are_named_by_the_catalogue_and_asked_for_by_our_pages(comfy: ComfyServer) -> None:
    good = json.dumps({"id": FIRST.file}).encode()
    for body in (b'{"id": "../../evil.pth"}', b'{"id": "https://example.org/x.pth"}', b'{"id": 3}', b"{}"):
        assert post(comfy, "/apisr/download", body) == 404
        assert post(comfy, "/apisr/cancel", body) == 404
    for body in (b"[]", b"{", b"\xff", b'{"id": "' + b"x" * 9000 + b'"}'):
        assert post(comfy, "/apisr/download", body) == 400
    assert post(comfy, "/apisr/download", good, **{"Content-Type": "text/plain"}) == 400
    assert post(comfy, "/apisr/download", good, Origin="https://example.org") == 403
    for site in ("cross-site", "same-site"):  # another port of this machine is another program's page
        assert post(comfy, "/apisr/download", good, **{"Sec-Fetch-Site": site}) == 403
    deep = b"[" * 4000
    assert post(comfy, "/apisr/download", deep) == 400
    assert (
        requests.post(
            comfy.address + "/apisr/download",
            data=iter([b'{"id": "', b"x" * 9000, b'"}']),  # in chunks, of no known length
            headers={"Content-Type": "application/json"},
            timeout=30,
        ).status_code
        == 400
    )
    for body in (
        b'{"client_id": "", "language": "ja"}',
        b'{"client_id": 5}',
        json.dumps({"client_id": "x" * 999}).encode(),
    ):
        assert post(comfy, "/apisr/client", body) == 400
    assert not list(comfy.models_dir.glob("*.part"))


def test_a_download_in_the_background_and_its_cancel(comfy_server: Callable[..., ComfyServer]) -> None:
    server = comfy_server("--enable-cors-header")  # without ComfyUI's own check of origins
    wf.write_compact(server.base / "official.pth", seed=6)
    data = (server.base / "official.pth").read_bytes()
    with http_server.running() as files:
        files.answers["/a.pth"] = [http_server.body(data, sends=len(data) // 2, stalls=True), http_server.body(data)]
        published = {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
        server.run({"zoo": wf.node("TestingZoo", url=f"{files.address}/a.pth", **published)})
        good = json.dumps({"id": FIRST.file}).encode()
        assert post(server, "/apisr/download", good, Origin="https://example.org") == 403
        own = {"Origin": "https://proxy.example.org", "Sec-Fetch-Site": "same-origin"}  # behind a proxy
        assert post(server, "/apisr/download", good, **own) == 202
        assert post(server, "/apisr/download", good) == 202, "the same one, once"
        _wait_for(lambda: entry(server, FIRST.file)["downloading"])
        _wait_for(lambda: list(server.models_dir.glob(".*.part")))
        assert post(server, "/apisr/cancel", good) == 204
        assert not entry(server, FIRST.file)["downloading"], "at once, though the other side sends nothing"
        assert not entry(server, FIRST.file)["present"]
        files.closing.set()
        _wait_for(lambda: not list(server.models_dir.glob(".*.part")))
        assert post(server, "/apisr/download", good) == 202
        _wait_for(lambda: entry(server, FIRST.file)["present"])
        assert entry(server, FIRST.file)["origin"] == "official"
    assert (server.models_dir / FIRST.file).read_bytes() == data


def test_a_run_and_the_button_share_a_download(comfy_server: Callable[..., ComfyServer]) -> None:
    server = comfy_server()
    wf.write_compact(server.base / "official.pth", seed=7)
    data = (server.base / "official.pth").read_bytes()
    good = json.dumps({"id": FIRST.file}).encode()
    with http_server.running() as files:
        stalled = http_server.body(data, sends=len(data) // 2, stalls=True)
        files.answers["/a.pth"] = [stalled, http_server.body(data)]
        published = {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
        server.run({"zoo": wf.node("TestingZoo", url=f"{files.address}/a.pth", **published)})
        picture = wf.send(server, wf.crop(16, 16), "shared.png")
        prompt = wf.ours("", picture, loader=wf.our_loader(FIRST.file, download=True))
        states: list[str] = []

        def cancel(event: Event) -> None:
            if event["type"] == "apisr.download":
                states.append(event["data"]["state"])
            if event["type"] == "progress_text" and " MB" in event["data"]["text"]:
                assert post(server, "/apisr/download", good) == 202
                assert post(server, "/apisr/cancel", good) == 204

        with pytest.raises(ExecutionFailed) as caught:
            server.run(prompt, on_event=cancel)
        assert "was cancelled" in caught.value.details["exception_message"]
        assert states[-1] == "cancelled"
        assert len(files.seen) == 1
        assert wf.run(server, prompt).shape == (64, 64, 3), "while the stalled one may still be waiting"
        files.closing.set()


def _wait_for(holds: Callable[[], object]) -> None:
    deadline = time.monotonic() + 30
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.1)
