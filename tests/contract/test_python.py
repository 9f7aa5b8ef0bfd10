"""The pack as a Python package: what the root shows, without importing anything before it is used."""

from __future__ import annotations

import ast
import copy
import pickle
import subprocess
import sys
from pathlib import Path

import apisr_pack
import pytest
from apisr_pack import apisr_archs, engine, video

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def called_apisr(monkeypatch: pytest.MonkeyPatch) -> None:
    """The checkout under the folder name apisr, as the README describes."""
    monkeypatch.setitem(sys.modules, "apisr", apisr_pack)


@pytest.mark.parametrize("name", apisr_pack.__all__)
def test_each_name_is_the_packages_own(name: str) -> None:
    homes = [layer for layer in (engine, apisr_archs, video) if name in layer.__all__]
    assert len(homes) == 1, "no name means two things"
    assert getattr(apisr_pack, name) is getattr(homes[0], name)


def test_all_errors_that_are_raised_on_purpose_are_there() -> None:
    """Their module is "apisr"."""
    exported = ((layer, name) for layer in (apisr_archs, video) for name in layer.__all__)
    ours = {name for layer, name in exported if getattr(getattr(layer, name), "__module__", "") == "apisr"}
    assert len(ours) >= 10
    assert ours <= set(apisr_pack.__all__)


def test_type_checkers_see_the_same_names() -> None:
    module = ast.parse((ROOT / "__init__.py").read_text(encoding="utf-8"))
    (block,) = (node for node in module.body if isinstance(node, ast.If))
    assert ast.unparse(block.test) == "TYPE_CHECKING"
    imported = [alias.name for node in block.body if isinstance(node, ast.ImportFrom) for alias in node.names]
    assert sorted(imported) == sorted(apisr_pack.__all__)


def test_importing_it_imports_neither_torch_nor_anything_of_the_pack(tmp_path: Path) -> None:
    """Nor does looking at it as ComfyUI does: for nodes of the old kind, and for those of the new kind."""
    (tmp_path / "apisr").symlink_to(ROOT, target_is_directory=True)
    script = (
        "import sys; before = set(sys.modules); import apisr\n"
        "hasattr(apisr, 'NODE_CLASS_MAPPINGS'), apisr.WEB_DIRECTORY, apisr.comfy_entrypoint, dir(apisr)\n"
        "print(*sorted(set(sys.modules) - before))"
    )
    run = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert run.stdout.split() == ["apisr"]


def test_dir_lists_what_there_is() -> None:
    names = dir(apisr_pack)
    assert names == sorted(set(names))
    assert {*apisr_pack.__all__, "comfy_entrypoint", "__version__", "__doc__"} <= set(names)
    assert all(hasattr(apisr_pack, name) for name in names)


@pytest.mark.parametrize("name", ["upscal", "NODE_CLASS_MAPPINGS", "__wrapped__", "is_finite"])
def test_another_name_is_an_ordinary_error(name: str) -> None:
    with pytest.raises(AttributeError, match=rf"^module 'apisr_pack' has no attribute '{name}'$") as caught:
        getattr(apisr_pack, name)
    assert (caught.value.name, caught.value.obj) == (name, apisr_pack), "from which Python suggests similar names"


def test_a_reloaded_module_shows_the_same() -> None:
    before = {name: getattr(apisr_pack, name) for name in apisr_pack.__all__}
    assert apisr_pack.__spec__
    assert apisr_pack.__spec__.loader
    apisr_pack.__spec__.loader.exec_module(apisr_pack)  # what importlib.reload does
    assert before == {name: getattr(apisr_pack, name) for name in apisr_pack.__all__}


@pytest.mark.parametrize("name", apisr_pack.__all__)
def test_all_can_be_pickled_and_copied(name: str, called_apisr: None) -> None:
    """As multiprocessing does with functions and with the errors they raise."""
    value = getattr(apisr_pack, name)
    assert pickle.loads(pickle.dumps(value)) is copy.copy(value) is value  # noqa: S301
    if isinstance(value, type) and issubclass(value, Exception):
        raised = pickle.loads(pickle.dumps(value("a reason")))  # noqa: S301
        assert type(raised) is value
        assert str(raised) == "a reason"
