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

if TYPE_CHECKING:
    from collections.abc import Callable

    from apisr_pack.tools.comfy_server import ComfyServer

FIRST = zoo.ZOO[0]


def estimate(server: ComfyServer, **query: object) -> dict[str, Any]:
    return server.get_json("/apisr/estimate?" + urlencode({"node": "APISRUpscale", "model": wf.BUNDLED, **query}))


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
    picture = wf.send(comfy, wf.crop(96, 128), "paced.png")
    prompt = wf.ours("paced.pth", picture)
    comfy.run(prompt)
    answer = estimate(comfy, model="paced.pth", precision="fp32", width=128, height=96)
    assert answer["lines"][0] == "512 x 384"
    assert ", about " in answer["lines"][1]
    started = time.monotonic()
    comfy.run(wf.ours("paced.pth", wf.send(comfy, wf.crop(96, 128, left=90), "paced2.png")))
    assert 0.2 < answer["seconds"] / (time.monotonic() - started) < 5
    assert "paced.pth" in (comfy.base / "user" / "__apisr" / "pace.json").read_text()


def test_a_damaged_pace_file_is_made_anew(comfy: ComfyServer) -> None:
    path = comfy.base / "user" / "__apisr" / "pace.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("[1, 2")
    assert estimate(comfy, width=20, height=20)["seconds"] is None
    comfy.run(wf.ours(wf.BUNDLED, wf.send(comfy, wf.crop(20, 20, left=77), "anew.png")))
    assert json.loads(path.read_text())


def test_the_list_says_what_each_model_is(comfy: ComfyServer) -> None:
    models = {model["name"]: model for model in comfy.get_json("/apisr/models")["models"]}
    offered = comfy.get_json("/object_info/APISRModelLoader")["APISRModelLoader"]["input"]["required"]["model_name"]
    assert list(models) == offered[1]["options"]
    labels = [model["label"] for model in models.values()]
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
    assert post(comfy, "/apisr/download", good, **{"Sec-Fetch-Site": "cross-site"}) == 403
    for body in (
        b'{"client_id": "", "language": "ja"}',
        b'{"client_id": 5}',
        json.dumps({"client_id": "x" * 999}).encode(),
    ):
        assert post(comfy, "/apisr/client", body) == 400
    assert not list(comfy.models_dir.glob("*.part"))


def test_a_download_in_the_background_and_its_cancel(comfy_server: Callable[..., ComfyServer]) -> None:
    server = comfy_server()
    wf.write_compact(server.base / "official.pth", seed=6)
    data = (server.base / "official.pth").read_bytes()
    with http_server.running() as files:
        files.answers["/a.pth"] = [http_server.body(data, sends=len(data) // 2, stalls=True), http_server.body(data)]
        published = {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
        server.run({"zoo": wf.node("TestingZoo", url=f"{files.address}/a.pth", **published)})
        good = json.dumps({"id": FIRST.file}).encode()
        assert post(server, "/apisr/download", good) == 202
        assert post(server, "/apisr/download", good) == 202, "the same one, once"
        _wait_for(lambda: entry(server, FIRST.file)["downloading"])
        _wait_for(lambda: list(server.models_dir.glob(".*.part")))
        assert post(server, "/apisr/cancel", good) == 204
        files.closing.set()  # the stalled transfer gets no byte, so that only its end is felt
        _wait_for(lambda: not entry(server, FIRST.file)["downloading"])
        assert not entry(server, FIRST.file)["present"]
        assert not list(server.models_dir.glob(".*.part"))
        assert post(server, "/apisr/download", good) == 202
        _wait_for(lambda: entry(server, FIRST.file)["present"])
        assert entry(server, FIRST.file)["origin"] == "official"
    assert (server.models_dir / FIRST.file).read_bytes() == data


def _wait_for(holds: Callable[[], object]) -> None:
    deadline = time.monotonic() + 30
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.1)
