"""The example workflows are whole, carry what ComfyUI needs to find nodes and models, and have a picture."""

from __future__ import annotations

import json
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
from apisr_pack import __version__
from apisr_pack.apisr_archs.files import zoo
from PIL import Image

ROOT = Path(__file__).resolve().parents[2]
WORKFLOWS = sorted((ROOT / "example_workflows").glob("*.json"))
BLUEPRINTS = sorted((ROOT / "subgraphs").glob("*.json"))
TITLE_HEIGHT = 30
APISR_MODELS = [model for model in zoo.ZOO if "_APISR_" in model.file]


def _workflow(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text(encoding="utf-8"))


def _our_nodes(workflow: dict[str, Any]) -> list[dict[str, Any]]:
    return [node for node in workflow["nodes"] if node["type"].startswith("APISR")]


def _named(path: Path) -> str:
    return path.name


def test_there_are_workflows() -> None:
    assert WORKFLOWS


@pytest.mark.parametrize("path", WORKFLOWS, ids=_named)
def test_each_has_an_api_twin_and_a_small_picture_of_the_same_name(path: Path) -> None:
    assert (path.parent / "api" / path.name).is_file()
    thumbnail = path.with_suffix(".jpg")
    with Image.open(thumbnail) as picture:
        assert picture.format == "JPEG"
        assert max(picture.size) <= 1024
    assert thumbnail.stat().st_size < 200_000


@pytest.mark.parametrize("path", WORKFLOWS, ids=_named)
def test_wires_agree_with_the_nodes_at_both_ends(path: Path) -> None:
    workflow = _workflow(path)
    nodes = {node["id"]: node for node in workflow["nodes"]}
    assert workflow["version"] == 0.4
    assert len(nodes) == len(workflow["nodes"])
    assert workflow["last_node_id"] == max(nodes)
    assert workflow["last_link_id"] == max(link[0] for link in workflow["links"])
    for link, source, output, target, slot, kind in workflow["links"]:
        start, end = nodes[source]["outputs"][output], nodes[target]["inputs"][slot]
        assert link in start["links"]
        assert link == end["link"]
        assert start["type"] == end["type"] == kind
    ends = [entry["link"] for node in nodes.values() for entry in node["inputs"] if entry["link"] is not None]
    assert sorted(ends) == sorted(link[0] for link in workflow["links"])


@pytest.mark.parametrize("path", WORKFLOWS, ids=_named)
def test_our_nodes_name_this_pack_and_version(path: Path) -> None:
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8").partition("[project]\n")[2]
    for node in _our_nodes(_workflow(path)):
        assert f'name = "{node["properties"]["cnr_id"]}"' == project.splitlines()[0]
        assert node["properties"]["ver"] == __version__


@pytest.mark.parametrize("path", WORKFLOWS, ids=_named)
def test_loader_carries_address_and_checksum_of_each_apisr_model(path: Path) -> None:
    with_models = ("APISRModelLoader", "APISRQuickUpscale")
    for loader in (node for node in _our_nodes(_workflow(path)) if node["type"] in with_models):
        assert loader["properties"]["models"] == [
            {
                "name": model.file,
                # the only one of the addresses for which the frontend offers a download
                "url": next(url for url in model.urls if url.startswith("https://huggingface.co/")),
                "directory": "upscale_models",
                "hash": model.sha256,
                "hash_type": "SHA256",
            }
            for model in APISR_MODELS
        ]


@pytest.mark.parametrize("path", WORKFLOWS, ids=_named)
def test_each_begins_with_a_note_that_says_what_to_do(path: Path) -> None:
    (note,) = (node for node in _workflow(path)["nodes"] if node["type"] == "MarkdownNote")
    assert "**Run**" in note["widgets_values"][0].split("\n")[0]


@pytest.mark.parametrize("path", WORKFLOWS, ids=_named)
def test_no_node_lies_on_another(path: Path) -> None:
    """In either renderer; their own heights are in tests/browser."""
    for one, other in combinations(_workflow(path)["nodes"], 2):
        (left, top, right, bottom), (left2, top2, right2, bottom2) = _box(one), _box(other)
        assert right <= left2 or right2 <= left or bottom <= top2 or bottom2 <= top, (one["type"], other["type"])


def _box(node: dict[str, Any]) -> tuple[float, float, float, float]:
    """With the title, which lies above the position."""
    (x, y), (width, height) = node["pos"], node["size"]
    return x, y - TITLE_HEIGHT, x + width, y + height


@pytest.mark.parametrize("path", WORKFLOWS, ids=_named)
def test_notes_are_readable_in_both_renderers(path: Path) -> None:
    """Nodes 2.0 shows `code` in a note of a colour as a plain box."""
    (note,) = (node for node in _workflow(path)["nodes"] if node["type"] == "MarkdownNote")
    assert "`" not in note["widgets_values"][0]


@pytest.mark.parametrize("path", WORKFLOWS, ids=_named)
def test_api_twin_has_the_same_nodes_wires_and_values(path: Path) -> None:
    workflow = _workflow(path)
    twin = _workflow(path.parent / "api" / path.name)
    nodes = {str(node["id"]): node for node in workflow["nodes"] if node["type"] != "MarkdownNote"}
    assert {key: node["class_type"] for key, node in twin.items()} == {key: node["type"] for key, node in nodes.items()}
    wires = {(str(target), slot): [str(source), output] for _, source, output, target, slot, _ in workflow["links"]}
    for key, node in nodes.items():
        linked = {entry["name"]: wires[key, slot] for slot, entry in enumerate(node["inputs"]) if (key, slot) in wires}
        assert {name: value for name, value in twin[key]["inputs"].items() if isinstance(value, list)} == linked
        plain = [value for value in twin[key]["inputs"].values() if value is not None and not isinstance(value, list)]
        assert all(value in node["widgets_values"] for value in plain), node["type"]


@pytest.mark.parametrize("path", BLUEPRINTS, ids=_named)
def test_blueprints_are_one_node_with_search_words(path: Path) -> None:
    blueprint = _workflow(path)
    (subgraph,) = blueprint["definitions"]["subgraphs"]
    (outer,) = blueprint["nodes"]
    assert outer["type"] == subgraph["id"]
    assert outer["title"] == subgraph["name"] == path.stem
    assert {"anime", "upscale", "2x", "アニメ", "放大"} <= set(blueprint["extra"]["BlueprintSearchAliases"])
    inside = {str(node["id"]): node for node in subgraph["nodes"]}
    for node, widget in outer["properties"]["proxyWidgets"]:
        assert any(entry.get("widget", {}).get("name") == widget for entry in inside[node]["inputs"])
    for end, ids in (("inputs", outer["inputs"]), ("outputs", outer["outputs"])):
        assert [entry["name"] for entry in ids] == [entry["name"] for entry in subgraph[end]]
    for node in subgraph["nodes"]:
        assert node["properties"]["cnr_id"] in ("apisr", "comfy-core")
