"""Every node has a help page that tells the truth about inputs, files and sizes; the README's script runs."""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from apisr_pack import load_model, upscale
from apisr_pack.apisr_archs.files import zoo
from apisr_pack.engine import RESIZE_MODES
from apisr_pack.engine.sizes import target_size
from apisr_pack.tests import clips, ffprobe
from PIL import Image

ROOT = Path(__file__).resolve().parents[2]
PAGES = ROOT / "web" / "docs"


def _schemas() -> dict[str, ast.Call]:
    """Node id -> its `io.Schema(...)`, read from the source: importing nodes/ needs ComfyUI."""
    calls = [
        call
        for path in sorted((ROOT / "nodes").glob("*.py"))
        for call in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(call, ast.Call) and ast.unparse(call.func) == "io.Schema"
    ]
    return {_text(call, "node_id"): call for call in calls}


def _text(call: ast.Call, keyword: str) -> str:
    """A string argument of a call; "" if there is none."""
    values = [entry.value for entry in call.keywords if entry.arg == keyword]
    return ast.literal_eval(values[0]) if values else ""


def _elements(schema: ast.Call, keyword: str) -> list[ast.Call]:
    """The calls in the list that is the argument `keyword`; `*more()` and `one()` stand for what they return."""
    (value,) = (entry.value for entry in schema.keywords if entry.arg == keyword)
    return list(_calls_in(value))


def _calls_in(value: ast.expr) -> Iterator[ast.Call]:
    assert isinstance(value, ast.List)
    for element in value.elts:
        if isinstance(element, ast.Starred):
            yield from _calls_in(_returned(element.value))
        else:
            call = element if ast.unparse(element).startswith("io.") else _returned(element)
            assert isinstance(call, ast.Call)
            yield call


def _returned(call: ast.expr) -> ast.expr:
    """What a function of nodes/ returns that is called here, also as `module.function()`."""
    assert isinstance(call, ast.Call)
    return LISTS[ast.unparse(call.func).rpartition(".")[2]]


def _lists() -> dict[str, ast.expr]:
    """Functions of nodes/ that only return something -> what they return."""
    functions = [
        function
        for path in sorted((ROOT / "nodes").glob("*.py"))
        for function in ast.parse(path.read_text(encoding="utf-8")).body
        if isinstance(function, ast.FunctionDef)
    ]
    returned = {function.name: function.body[-1] for function in functions}
    return {name: last.value for name, last in returned.items() if isinstance(last, ast.Return) and last.value}


LISTS = _lists()


def _has_outputs(schema: ast.Call) -> bool:
    return any(entry.arg == "outputs" for entry in schema.keywords)


def _input_names(schema: ast.Call) -> list[str]:
    return [ast.literal_eval(entry.args[0]) for entry in _elements(schema, "inputs")]


def _page(node_id: str) -> str:
    return (PAGES / f"{node_id}.md").read_text(encoding="utf-8")


def _entries(page: str, heading: str) -> list[tuple[str, str, str]]:
    """The list below `## heading`, `- **name** more: text`, as (name, more, text)."""
    section = page.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    return re.findall(r"^- \*\*(.+?)\*\* ?(.*?): (.+)$", section, re.MULTILINE)


SCHEMAS = _schemas()


def test_each_node_has_a_page_and_each_page_a_node() -> None:
    assert len(SCHEMAS) >= 2
    assert {path.stem for path in PAGES.glob("*.md")} == set(SCHEMAS)


@pytest.mark.parametrize("node_id", SCHEMAS)
def test_page_begins_with_the_name_in_the_menu(node_id: str) -> None:
    assert _page(node_id).splitlines()[0] == f"# {_text(SCHEMAS[node_id], 'display_name')}"


@pytest.mark.parametrize("node_id", SCHEMAS)
def test_page_explains_each_input_in_the_order_of_the_node(node_id: str) -> None:
    entries = _entries(_page(node_id), "Inputs")
    assert [name for name, _, _ in entries] == _input_names(SCHEMAS[node_id])


@pytest.mark.parametrize("node_id", SCHEMAS)
def test_each_input_and_output_has_a_tooltip(node_id: str) -> None:
    for keyword in ("inputs", "outputs") if _has_outputs(SCHEMAS[node_id]) else ("inputs",):
        for element in _elements(SCHEMAS[node_id], keyword):
            assert _text(element, "tooltip"), ast.unparse(element)


@pytest.mark.parametrize("model", zoo.ZOO, ids=lambda model: model.file)
def test_loader_page_names_each_known_model_with_its_size(model: zoo.ZooModel) -> None:
    section = _page("APISRModelLoader").partition("\n## Which model\n")[2].partition("\n## ")[0]
    entries = section.replace("\n  ", " ").split("\n- ")
    named = [entry for entry in entries if entry.startswith(f"**{_shown_name(model)}**") or model.file in entry]
    assert len(named) == 1, named
    assert f"{model.bytes / 1e6:.0f} MB" in named[0]


def _shown_name(model: zoo.ZooModel) -> str:
    """The name of a model in the list of the nodes, up to the first comma."""
    texts = json.loads((ROOT / "locales" / "en" / "main.json").read_text(encoding="utf-8"))["apisr"]
    return texts[f"label_{Path(model.file).stem}"].partition(",")[0]


def test_sizes_in_the_upscale_page_are_what_the_engine_makes() -> None:
    entries = _entries(_page("APISRUpscale"), "Sizes")
    assert [mode for mode, *_ in entries] == list(RESIZE_MODES)
    for mode, amount, result in entries:
        number = float(amount or 1)
        height, width = target_size(600, 800, 4, mode, number)
        assert result.split()[0] == f"{width}x{height}", mode


def run_script_of_readme(number: int, folder: Path) -> None:
    """Run a script of "From Python" in a process of its own, in a folder that has the checkout as `apisr`."""
    section = (ROOT / "README.md").read_text(encoding="utf-8").partition("\n## From Python\n")[2].partition("\n## ")[0]
    scripts = re.findall(r"^```python\n(.*?)^```$", section, re.MULTILINE | re.DOTALL)
    (folder / "apisr").symlink_to(ROOT, target_is_directory=True)
    (folder / "script.py").write_text(scripts[number], encoding="utf-8")
    run = subprocess.run([sys.executable, "script.py"], cwd=folder, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr


@pytest.mark.slow
def test_the_script_for_pictures_runs_as_it_is_written(tmp_path: Path) -> None:
    pixels = torch.randint(0, 256, (9, 14, 3), dtype=torch.uint8)
    Image.fromarray(pixels.numpy()).save(tmp_path / "picture.png")
    run_script_of_readme(0, tmp_path)
    with Image.open(tmp_path / "upscaled.png") as picture:
        written = torch.from_numpy(np.array(picture))
    expected = upscale(load_model(ROOT / "models" / "realesr-animevideov3.safetensors"), pixels[None] / 255)[0] * 255
    assert written.shape == (36, 56, 3)
    assert (written - expected).abs().max() <= 0.51


@pytest.mark.slow
def test_the_script_for_videos_runs_as_it_is_written(tmp_path: Path) -> None:
    clips.CLIPS["vfr mkv"](tmp_path).rename(tmp_path / "episode.mkv")
    run_script_of_readme(1, tmp_path)
    (result,) = tmp_path.glob("upscaled.*")
    assert ffprobe.video(result)["codec_name"] == "hevc"
    assert len(ffprobe.frames(result)) == len(ffprobe.frames(tmp_path / "episode.mkv"))


def test_the_readme_has_the_names_of_the_models() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    for model in zoo.ZOO:
        in_the_table = model.file != "realesr-animevideov3.pth"  # it is the bundled one, by another name
        assert (f"| {model.file} |" if in_the_table else model.file) in readme
