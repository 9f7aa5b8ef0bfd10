"""Every language says all that English says: texts of the nodes, their labels and tooltips, help pages, READMEs."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator
from pathlib import Path
from unicodedata import east_asian_width

import pytest
from apisr_pack.tests.contract.test_docs import LISTS, SCHEMAS, _has_outputs, _input_names

ROOT = Path(__file__).resolve().parents[2]
LOCALES = ROOT / "locales"
PAGES = ROOT / "web" / "docs"
LANGUAGES = sorted(path.name for path in LOCALES.iterdir() if path.name != "en")

LETTERS = {
    "ja": "[\u3041-\u30fa\u4e00-\u9fff]",
    "ko": "[\uac00-\ud7a3]",
    "zh": "[\u4e00-\u9fff]",
    "zh-TW": "[\u4e00-\u9fff]",
}
SAME_IN_ALL = {"size", "takes", "cpu", "ui_downloading"}
"""Texts that have only numbers and names."""
NO_WORDS = {*SAME_IN_ALL, "downloading", "facts", "loaded", "here", "here_licence"}
"""Texts that may differ from English only in their punctuation."""
SEARCHED = {
    "ja": ("アニメ", "拡大", "アップスケール", "高画質"),
    "ko": ("애니", "업스케일", "확대"),
    "zh": ("动漫", "放大", "超分", "高清"),
    "zh-TW": ("動漫", "放大", "超解析"),
}
"""Words by which a node that enlarges is looked for: the search of ComfyUI reads names and descriptions."""
ENLARGE = ("APISRUpscale", "APISRUpscaleVideo", "APISRQuickUpscale")
SYNTAX = re.compile(r"[{}|@]")
"""What ComfyUI reads as more than a letter, in labels, names and descriptions."""

LABELLED = re.compile(r"^- \*\*(\w+)\*\*[(\uff08](.+?)[)\uff09][:\uff1a]", re.MULTILINE)
"""An input in a help page: its name, and its label in brackets."""
NAMES = re.compile(r"\*\*.+?\*\*|`.+?`")
LINE = 30
"""Columns of a line on a node; a character of East Asia takes two."""
NOT_ON_A_LINE = ("label_", "good_", "ui_gone", "ui_divider")
VALUES = {
    "architecture": "Compact",
    "count": "240",
    "device": "cuda:0",
    "done": "12.3",
    "dtype": "bfloat16",
    "fps": "12.5",
    "height": "1152",
    "licence": "BSD-3-Clause",
    "megapixels": "1234",
    "memory": "12.3 GB",
    "n": "120",
    "name": "RRDB 4x",
    "parameters": "10.89 M",
    "reused": "88",
    "scale": "4",
    "size": "1536 x 1152",
    "speed": "12.3",
    "subject": "RRDB 4x",
    "time": "12:34 min",
    "total": "87.2",
    "width": "1536",
}
"""A long value for each place in the texts."""

Definition = dict[str, dict[str, dict[str, str]]]


def texts(language: str) -> dict[str, str]:
    return json.loads((LOCALES / language / "main.json").read_text(encoding="utf-8"))["apisr"]


def definitions(language: str) -> dict[str, Definition]:
    return json.loads((LOCALES / language / "nodeDefs.json").read_text(encoding="utf-8"))


def places(text: str) -> list[str]:
    return sorted(re.findall(r"\{\w+\}", text))


def is_in(language: str, text: str) -> bool:
    return re.search(LETTERS[language], text) is not None


def test_the_languages_are_those_that_the_nodes_speak() -> None:
    source = (ROOT / "nodes" / "words.py").read_text(encoding="utf-8")
    (spoken,) = (
        ast.literal_eval(each.value)
        for each in ast.parse(source).body
        if isinstance(each, ast.Assign) and ast.unparse(each.targets[0]) == "LANGUAGES"
    )
    assert sorted(set(spoken) - {"en"}) == LANGUAGES == sorted(LETTERS)


@pytest.mark.parametrize("language", LANGUAGES)
def test_texts_are_complete_and_translated(language: str) -> None:
    english, other = texts("en"), texts(language)
    assert list(other) == list(english)
    for key, text in other.items():
        assert places(text) == places(english[key]), key
        assert text.count("\n") == english[key].count("\n"), key
        assert text != english[key] or key in SAME_IN_ALL, f"{key} is English"
        assert is_in(language, text) or key in NO_WORDS, f"{key} has no word of the language"


@pytest.mark.parametrize("language", LANGUAGES)
def test_texts_fit_on_a_node_where_english_does(language: str) -> None:
    english, other = texts("en"), texts(language)
    for key in english:
        if not key.startswith(NOT_ON_A_LINE):
            for line, ours in zip(shown(other, key), shown(english, key), strict=True):
                assert columns(line) <= max(LINE, columns(ours)), f"{key}: {line}"


def shown(said: dict[str, str], key: str) -> list[str]:
    """The lines of a text with long values in its places."""
    origin = max((said[each] for each in ("official", "altered", "unknown", "bundled")), key=columns)
    values = VALUES | {"origin": origin} | ({"size": "87.2"} if key in ("here", "here_licence", "not_here") else {})
    return said[key].format(**values).split("\n")


def columns(line: str) -> int:
    return sum(2 if east_asian_width(character) in "WF" else 1 for character in line)


def keys_of(schema: ast.Call) -> Iterator[str]:
    """The names of the inputs in nodeDefs.json: ComfyUI writes "_" for the dot of a nested one."""
    for name in _input_names(schema):
        yield name
        if name == "resize_to":
            yield from (f"{name}_{number}" for number in dict.fromkeys(nested_numbers()))


def nested_numbers() -> Iterator[str]:
    """The name of the number below each choice of `resize_to`, in the order of the menu."""
    choices = LISTS["_number_inputs"]
    assert isinstance(choices, ast.Dict)
    for value in choices.values:
        if isinstance(value, ast.Call):
            call = value if ast.unparse(value).startswith("io.") else LISTS[ast.unparse(value.func)]
            assert isinstance(call, ast.Call)
            yield ast.literal_eval(call.args[0])


def test_the_nested_numbers_are_found() -> None:
    """The next test relies on it."""
    assert list(nested_numbers()) == ["factor", "pixels", "pixels", "megapixels"]


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("node_id", SCHEMAS)
def test_names_labels_and_tooltips_are_translated(language: str, node_id: str) -> None:
    schema, translated = SCHEMAS[node_id], definitions(language)[node_id]
    outputs = {"0"} if _has_outputs(schema) else set()
    assert set(translated) == {"display_name", "description", "inputs"} | ({"outputs"} if outputs else set())
    assert set(translated.get("outputs", {})) == outputs
    assert list(translated["inputs"]) == list(keys_of(schema))
    for name, entry in [*translated["inputs"].items(), *translated.get("outputs", {}).items()]:
        assert set(entry) == {"name", "tooltip"}, name
        assert all(is_in(language, text) for text in entry.values()), name
        assert not SYNTAX.search(entry["name"]), name


@pytest.mark.parametrize("language", LANGUAGES)
def test_nodes_are_told_apart_and_found(language: str) -> None:
    translated = definitions(language)
    assert set(translated) == set(SCHEMAS)
    names = {node_id: str(entry["display_name"]) for node_id, entry in translated.items()}
    assert len(set(names.values())) == len(names)
    for node_id, entry in translated.items():
        name, description = names[node_id], str(entry["description"])
        assert "APISR" in name
        assert is_in(language, name), name
        assert is_in(language, description), description
        assert not SYNTAX.search(name + description)
        assert node_id not in ENLARGE or all(word in name + description for word in SEARCHED[language]), description


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("node_id", SCHEMAS)
def test_help_pages_say_the_same(language: str, node_id: str) -> None:
    other = (PAGES / node_id / f"{language}.md").read_text(encoding="utf-8")
    assert other.splitlines()[0] == f"# {definitions(language)[node_id]['display_name']}"
    theirs, ours = sections(other), sections((PAGES / f"{node_id}.md").read_text(encoding="utf-8"))
    assert len(theirs) == len(ours)
    for there, here in zip(theirs, ours, strict=True):
        heading = here.partition("\n")[0]
        assert there.count("\n- ") == here.count("\n- "), heading
        assert there.count("\n\n") == here.count("\n\n"), f"{heading}: paragraphs"
        for pattern in (r"`[^`]+`", r"\]\([^)]+\)"):
            assert set(re.findall(pattern, there)) == set(re.findall(pattern, here)), heading
        for mine, yours in zip(here.split("\n- "), there.split("\n- "), strict=True):
            assert numbers(mine) <= numbers(yours), mine
        assert amounts(there) == amounts(here), heading
        if heading in ("Inputs", "Output", "Sizes"):
            assert listed(there) == listed(here)
        for line in filter(str.strip, there.splitlines()):
            assert is_in(language, line) or not re.search("[A-Za-z]{2}", NAMES.sub("", line)), line


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("node_id", SCHEMAS)
def test_help_pages_call_inputs_as_the_node_does(language: str, node_id: str) -> None:
    """In brackets after the name, which is what workflows, errors and other languages have."""
    labels = {name: entry["name"] for name, entry in definitions(language)[node_id]["inputs"].items()}
    page = (PAGES / node_id / f"{language}.md").read_text(encoding="utf-8")
    explained = dict(LABELLED.findall(page))
    for name in _input_names(SCHEMAS[node_id]):
        assert explained.get(name) == labels[name], name


def sections(page: str) -> list[str]:
    return re.split(r"^## ", page, flags=re.MULTILINE)


def numbers(section: str) -> set[str]:
    """All of them. A translation may have more: where English says twice, or in other words."""
    return set(re.findall(r"\d+(?:[.:x]\d+)*", section))


def amounts(section: str) -> list[str]:
    return re.findall(r"\d+x\d+|\d+ MB", section)


def listed(section: str) -> list[str]:
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
