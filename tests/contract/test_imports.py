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
    "nodes": {"torch", "typing_extensions", "comfy", "comfy_api", "folder_paths", "server"},
}
"""urllib3 comes with requests, typing_extensions with torch."""
OWN = {"apisr_archs": set(), "engine": {"apisr_archs"}, "nodes": {"apisr_archs", "engine"}}

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
