"""The arrows of the layout: nodes -> engine -> apisr_archs -> torch, and ComfyUI only in nodes."""

from __future__ import annotations

import ast
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
THIRD_PARTY = {
    "apisr_archs": {"torch", "numpy", "safetensors", "spandrel", "requests", "urllib3", "typing_extensions"},
    "engine": {"torch"},
    "video": {"av", "numpy", "torch", "typing_extensions"},
    "nodes": {"PIL", "aiohttp", "torch", "typing_extensions", "comfy", "comfy_api", "folder_paths", "server"},
}
"""aiohttp is what ComfyUI's server is made of; urllib3 comes with requests, typing_extensions with torch."""
OWN = {
    "apisr_archs": set(),
    "engine": {"apisr_archs"},
    "video": {"apisr_archs", "engine"},
    "nodes": {"apisr_archs", "engine", "video"},
}

FILES = [path for layer in OWN for path in sorted((ROOT / layer).rglob("*.py"))]


def imports(path: Path) -> tuple[set[str], set[str]]:
    """Top-level names of absolute imports, and layers of the pack that relative imports reach."""
    absolute, layers = set(), set()
    package = path.relative_to(ROOT).parent.parts
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            absolute |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level:
            absolute.add((node.module or "").partition(".")[0])
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1]
            names = [node.module] if node.module else [alias.name for alias in node.names]
            layers |= {(*base, *name.split("."))[0] for name in names}
    return absolute, layers


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_arrows(path: Path) -> None:
    layer = path.relative_to(ROOT).parts[0]
    absolute, layers = imports(path)
    assert absolute - set(sys.stdlib_module_names) <= THIRD_PARTY[layer]
    assert layers <= OWN[layer] | {layer}


def test_the_root_imports_nothing_of_the_host() -> None:
    """ComfyUI runs it at startup, and pytest runs it without ComfyUI."""
    module = ast.parse((ROOT / "__init__.py").read_text(encoding="utf-8"))
    top_level = [node for node in module.body if isinstance(node, (ast.Import, ast.ImportFrom))]
    assert not top_level


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_no_way_to_run_code_from_outside(path: Path) -> None:
    calls = [node for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))) if isinstance(node, ast.Call)]
    names = {ast.unparse(call.func) for call in calls}
    assert not names & {"eval", "exec", "os.system", "pickle.load", "pickle.loads", "torch.jit.load"}
    for call in calls:
        if ast.unparse(call.func) == "torch.load":
            assert any(k.arg == "weights_only" and ast.unparse(k.value) == "True" for k in call.keywords)


# Inside the packages: wings, and no circle

WINGS = {
    # the parts of networks know nothing of whole networks, of files or of models
    "apisr_archs/networks/parts": {"apisr_archs/networks/parts"},
    # files are read without knowing any network
    "apisr_archs/files": {"apisr_archs/files", "apisr_archs/errors.py", "apisr_archs/text.py"},
}
"""What the modules of a folder may import of their own layer."""


def imported_modules(path: Path) -> set[Path]:
    """The modules of the pack that relative imports of one of them name."""
    found: set[Path] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.level:
            base = path.parent
            for _ in range(node.level - 1):
                base = base.parent
            base = base.joinpath(*(node.module or "").split("."))
            for name in [base, *(base / alias.name for alias in node.names)]:
                found |= {file for file in (name.with_suffix(".py"), name / "__init__.py") if file.is_file()}
    return found


def importers() -> dict[Path, set[Path]]:
    """Each module of the pack and what it imports; packages, which only hand on, stand for nothing themselves."""
    return {
        path: {other for other in imported_modules(path) if other.name != "__init__.py"} - {path}
        for path in FILES
        if path.name != "__init__.py"
    }


@pytest.mark.parametrize("wing", WINGS)
def test_wings_stay_by_themselves(wing: str) -> None:
    allowed = [ROOT / entry for entry in WINGS[wing]]
    for path in sorted((ROOT / wing).glob("*.py")):
        for other in imported_modules(path) - {path}:
            assert any(entry in (other, *other.parents) for entry in allowed), f"{path.name} imports {other}"


def test_no_module_imports_itself_by_others() -> None:
    left = importers()
    while True:
        free = {path for path, needed in left.items() if not needed & left.keys()}
        if not free:
            break
        left = {path: needed for path, needed in left.items() if path not in free}
    assert not left, f"a circle among {sorted(path.name for path in left)}"


LONGEST_FILE, LONGEST_FUNCTION = 300, 45
"""Lines, in the product."""


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_files_and_functions_can_be_read_in_one_sitting(path: Path) -> None:
    source = path.read_text(encoding="utf-8")
    assert len(source.splitlines()) <= LONGEST_FILE
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            assert (node.end_lineno or 0) - node.lineno + 1 <= LONGEST_FUNCTION, node.name
