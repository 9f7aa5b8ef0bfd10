"""Every language says all that English says: texts of the nodes, their labels and tooltips, and the help pages."""

from __future__ import annotations

import ast
import json
import re
from pathlib import Path
from unicodedata import east_asian_width

import pytest
from apisr_pack.tests.contract.test_docs import SCHEMAS, _elements, _input_names, _text

ROOT = Path(__file__).resolve().parents[2]
LOCALES = ROOT / "locales"
PAGES = ROOT / "web" / "docs"
LANGUAGES = sorted(path.name for path in LOCALES.iterdir() if path.name != "en")
SAME_IN_ALL = {"size", "takes", "cpu", "ui_downloading"}
"""Texts of numbers and names only."""
LINE = 30
"""Columns of a line on a node; a character of East Asia takes two."""
LONGER = ("label_", "good_", "ui_gone", "ui_divider", "error_")
"""Not on a node, or wrapped there."""


def texts(language: str) -> dict[str, str]:
    return json.loads((LOCALES / language / "main.json").read_text(encoding="utf-8"))["apisr"]


def definitions(language: str) -> dict[str, dict[str, dict[str, dict[str, str]]]]:
    return json.loads((LOCALES / language / "nodeDefs.json").read_text(encoding="utf-8"))


def test_the_languages_are_those_that_the_nodes_speak() -> None:
    source = (ROOT / "nodes" / "words.py").read_text(encoding="utf-8")
    (spoken,) = (
        ast.literal_eval(each.value)
        for each in ast.parse(source).body
        if isinstance(each, ast.Assign) and ast.unparse(each.targets[0]) == "LANGUAGES"
    )
    assert sorted(set(spoken) - {"en"}) == LANGUAGES


@pytest.mark.parametrize("language", LANGUAGES)
def test_texts_are_complete_translated_and_short(language: str) -> None:
    english, other = texts("en"), texts(language)
    assert list(other) == list(english)
    for key, text in other.items():
        assert set(re.findall(r"\{\w+\}", text)) == set(re.findall(r"\{\w+\}", english[key])), key
        assert (text == english[key]) <= (key in SAME_IN_ALL), f"{key} is English"
        if not key.startswith(LONGER):
            assert max(map(columns, text.split("\n"))) <= LINE, key


def columns(text: str) -> int:
    """Columns of a line with numbers in its places, each of four digits."""
    filled = re.sub(r"\{\w+\}", "1234", text)
    return sum(2 if east_asian_width(character) in "WF" else 1 for character in filled)


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("node_id", SCHEMAS)
def test_each_input_and_output_is_translated(language: str, node_id: str) -> None:
    schema, translated = SCHEMAS[node_id], definitions(language)[node_id]
    for part in ("display_name", "description"):
        assert translated[part] not in ("", _text(schema, part))
    nested = "resize_to_"  # the frontend's keys for the numbers that a choice brings
    assert [name for name in translated["inputs"] if not name.startswith(nested)] == _input_names(schema)
    for element in _elements(schema, "inputs"):
        entry = translated["inputs"][ast.literal_eval(element.args[0])]
        assert entry["name"]
        assert entry["tooltip"] not in ("", _text(element, "tooltip"))
    outputs = [entry for entry in schema.keywords if entry.arg == "outputs"]
    assert list(translated.get("outputs", {})) == [str(index) for index in range(len(outputs))]


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("node_id", SCHEMAS)
def test_help_pages_say_the_same(language: str, node_id: str) -> None:
    english = (PAGES / f"{node_id}.md").read_text(encoding="utf-8")
    other = (PAGES / node_id / f"{language}.md").read_text(encoding="utf-8")
    assert other.splitlines()[0] == f"# {definitions(language)[node_id]['display_name']}"
    ours, theirs = re.split(r"^## ", english, flags=re.MULTILINE), re.split(r"^## ", other, flags=re.MULTILINE)
    assert len(theirs) == len(ours)
    for mine, yours in zip(ours, theirs, strict=True):
        heading = mine.partition("\n")[0]
        assert yours.count("\n- ") == mine.count("\n- "), heading
        assert (yours.partition("\n")[0] == heading) <= heading.startswith("# ")
        assert sorted(set(re.findall(r"`[^`]+`", yours))) == sorted(set(re.findall(r"`[^`]+`", mine))), heading
        if heading in ("Inputs", "Output", "Sizes"):
            assert names(yours) == names(mine)
        if heading in ("Sizes", "Which model", "The smallest tiles"):
            assert re.findall(r"\d+x\d+|\d+ MB", yours) == re.findall(r"\d+x\d+|\d+ MB", mine)


def names(section: str) -> list[str]:
    return re.findall(r"^- \*\*(.+?)\*\*", section, re.MULTILINE)


@pytest.mark.parametrize("language", LANGUAGES)
def test_models_in_the_help_are_called_as_in_the_list(language: str) -> None:
    page = (PAGES / "APISRModelLoader" / f"{language}.md").read_text(encoding="utf-8")
    labels = [text for key, text in texts(language).items() if key.startswith("label_") and "video" not in key]
    for label in labels:
        name = re.split("[,\u3001\uff0c]", label)[0]  # commas of all languages
        assert f"**{name}" in page, label


@pytest.mark.parametrize("language", ["zh", "ja"])
def test_the_readme_says_the_same(language: str) -> None:
    """The same headings, rows of tables, pictures, addresses and code, in the same order."""
    english = (ROOT / "README.md").read_text(encoding="utf-8")
    other = (ROOT / f"README.{language}.md").read_text(encoding="utf-8")
    links = r"\]\(((?!#|README)[^)]+)\)"
    for pattern in (r"^(#+) ", r"^- ", r"^\|", links, r"^```.*?^```$", r"\d+\.\d+ kB", r"\| (\S+\.pth) "):
        mine, theirs = (re.findall(pattern, text, re.MULTILINE | re.DOTALL) for text in (english, other))
        assert sorted(theirs) == sorted(mine), pattern
    ours, yours = (re.split(r"^## ", text, flags=re.MULTILINE) for text in (english, other))
    assert [section.count("\n|") for section in yours] == [section.count("\n|") for section in ours]
