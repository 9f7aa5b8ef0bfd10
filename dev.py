"""All developer commands. Needs only Python 3.10 or newer:

    python dev.py demo            upscale a picture in a real ComfyUI, which is installed here if necessary
    python dev.py test [--fast]   run all tests; --fast: only those that need neither ComfyUI nor a browser
    python dev.py bench [NAME]    run a script from benchmarks/; without a name, list them
    python dev.py gallery         make a page that shows what each model does to the same pictures
    python dev.py lint            run ruff and pyright

Everything is installed into .venv and .comfyui in this checkout. `--comfyui PATH` (or COMFYUI_PATH) uses an existing
installation instead, and installs nothing into it.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tools import environment, process
from tools.chromium import NO_CHROMIUM, find_chromium
from tools.comfy_server import (
    ComfyServer,
    ExecutionFailed,
    PromptRejected,
    ServerFailed,
    port_is_free,
    running_server,
)
from tools.environment import Host
from tools.pack_link import link_pack
from tools.process import LOGS, ROOT, WORK, SetupFailed, say
from tools.web_lint import lint_web

PICTURE = ROOT / "tests" / "art" / "demo.png"
WORKFLOW = ROOT / "example_workflows" / "api" / "Anime upscale, before and after.json"
OUTPUT = ROOT / "demo_output"
GALLERY = ROOT / "gallery"
FAST = "not (comfy or browser or slow)"


def main() -> int:
    """Run the subcommand; returns the exit code."""
    if sys.version_info < (3, 10):  # noqa: UP036 - a clear message for older versions
        print(f"This is Python {platform.python_version()}; the pack needs 3.10 or newer.", file=sys.stderr)
        return 2
    signal.signal(signal.SIGTERM, process.on_terminate)
    arguments, rest = _parser().parse_known_args()
    try:
        return arguments.command(arguments, rest)
    except (SetupFailed, ServerFailed, PromptRejected, ExecutionFailed, TimeoutError) as problem:
        print(f"\nerror: {problem}", file=sys.stderr)
        return 1
    except OSError as problem:
        hint = f"Check the free disk space, the permissions of {ROOT} and the logs in {LOGS}."
        print(f"\nerror: {problem}. {hint}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nStopped.", file=sys.stderr)
        return 130


def _parser() -> argparse.ArgumentParser:
    host = argparse.ArgumentParser(add_help=False)
    host.add_argument("--comfyui", type=Path, metavar="PATH", default=os.environ.get("COMFYUI_PATH") or None)
    host.add_argument("--python", metavar="PROGRAM", help="the interpreter that starts that ComfyUI")

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True, metavar="demo | test | bench | gallery | lint")

    def add(name: str, command: Callable[[argparse.Namespace, list[str]], int]) -> argparse.ArgumentParser:
        made = commands.add_parser(name, help=command.__doc__, parents=[host], allow_abbrev=False)
        made.set_defaults(command=command)
        return made

    demo_options = add("demo", demo)
    demo_options.add_argument("--serve", action="store_true", help="keep the server running until Ctrl-C")
    demo_options.add_argument("--port", type=_port, help="the server's port; any free port by default")
    add("test", test).add_argument("--fast", action="store_true", help=f'only -m "{FAST}"')
    bench_options = add("bench", bench)
    bench_options.add_argument("name", nargs="?")
    bench_options.add_argument("arguments", nargs=argparse.REMAINDER)
    gallery_options = add("gallery", gallery)
    gallery_options.add_argument("--folder", type=Path, metavar="PATH", help="where your model files are")
    gallery_options.add_argument("--no-download", action="store_true", help="only the models that are there")
    add("lint", lint)
    return parser


def _port(text: str) -> int:
    port = int(text)
    if not 0 < port < 65536:
        raise argparse.ArgumentTypeError(f"{port} is not a port; expected 1 to 65535")
    return port


def demo(arguments: argparse.Namespace, rest: list[str]) -> int:
    """upscale a picture in a real ComfyUI"""
    _refuse(rest)
    if arguments.port and not port_is_free(arguments.port):
        raise SetupFailed(f"Port {arguments.port} is in use. Choose another one, or leave out --port.")
    host = _host(arguments, dev=False)
    base = WORK / "base"
    link_pack(ROOT, base)
    options = [] if environment.has_gpu(host) else ["--cpu"]
    log = LOGS / "server.log"
    say("Starting ComfyUI" + (" on the CPU" if options else " on the GPU"))
    with running_server(host.python, _comfyui(host), base, log, options=options, port=arguments.port) as server:
        say(f"ComfyUI is running: {server.address}")
        before_after = _upscale_picture(server, host)
        say(f"Input   {PICTURE}\nOutput  {OUTPUT / 'upscaled.png'}\nBoth    {before_after}")
        if arguments.serve:
            _serve(server)
        else:
            say(f"Server  {server.address} (stopped now; `python dev.py demo --serve` keeps it running)")
    return 0


def test(arguments: argparse.Namespace, rest: list[str]) -> int:
    """run all tests, or the fast ones; further arguments are passed to pytest"""
    host = _host(arguments, dev=True, comfyui=not arguments.fast)
    # one process with one thread for each core; tests that share a server or a browser stay together
    command = [host.python, "-m", "pytest", "-n", "auto", "--dist", "loadgroup"]
    if arguments.fast:
        return process.run([*command, "-m", FAST, *rest], env={"OMP_NUM_THREADS": "1"})
    if find_chromium() is None:
        say(f"{NO_CHROMIUM} They will fail unless Playwright has its own browser.")
    return process.run([*command, *rest], env={"COMFYUI_PATH": str(host.comfyui), "OMP_NUM_THREADS": "1"})


def bench(arguments: argparse.Namespace, rest: list[str]) -> int:
    """run a script from benchmarks/, or list them"""
    scripts = {path.stem: path for path in sorted((ROOT / "benchmarks").glob("[!_]*.py"))}
    if arguments.name not in scripts:
        say(f"Benchmarks: {', '.join(scripts) or 'none yet'}")
        if arguments.name is None:
            return 0
        raise SetupFailed(f"There is no benchmarks/{arguments.name}.py.")
    host = _host(arguments, dev=True)
    env = {"COMFYUI_PATH": str(host.comfyui)}
    return process.run([host.python, scripts[arguments.name], *rest, *arguments.arguments], env=env)


def gallery(arguments: argparse.Namespace, rest: list[str]) -> int:
    """show what each known model does to the same pictures, on one page"""
    _refuse(rest)
    host = _host(arguments, dev=False, comfyui=False)
    options = ["--folder", arguments.folder.absolute()] if arguments.folder else []
    options += ["--no-download"] if arguments.no_download else []
    code = process.run([host.python, ROOT / "tools" / "gallery.py", GALLERY, *options])
    if not code:
        say(f"Open    {GALLERY / 'index.html'}")
    return code


def lint(arguments: argparse.Namespace, rest: list[str]) -> int:
    """run ruff check, ruff format, pyright, and eslint and TypeScript on web/"""
    _refuse(rest)
    host = _host(arguments, dev=True)
    checks = (["ruff", "check"], ["ruff", "format", "--check"], ["pyright", "--pythonpath", str(host.python)])
    codes = [process.run([host.python, "-m", *check]) for check in checks]
    return max(*codes, lint_web(host.python))


def _refuse(rest: list[str]) -> None:
    if rest:
        raise SetupFailed(f"Unknown arguments: {' '.join(rest)}. See `python dev.py --help`.")


def _host(arguments: argparse.Namespace, *, dev: bool, comfyui: bool = True) -> Host:
    """The installation that the user gave, else the checkout's own."""
    if arguments.comfyui is None:
        if arguments.python is not None:
            raise SetupFailed("--python needs --comfyui: it names the interpreter of an existing ComfyUI.")
        return environment.own_host(comfyui=comfyui, dev=dev)
    host = environment.existing_host(arguments.comfyui, arguments.python)
    if dev:
        environment.require_dev_tools(host)
    return host


def _comfyui(host: Host) -> Path:
    if host.comfyui is None:
        raise SetupFailed("ComfyUI is not set up.")
    return host.comfyui


def _upscale_picture(server: ComfyServer, host: Host) -> Path:
    """Run the example workflow on the demo picture; returns the path of the before-and-after picture."""
    workflow: dict[str, Any] = json.loads(WORKFLOW.read_text(encoding="utf-8"))
    loaders = [node for node in workflow.values() if node["class_type"] == "LoadImage"]
    savers = [key for key, node in workflow.items() if node["class_type"] == "SaveImage"]
    loaders[0]["inputs"]["image"] = server.upload_image(PICTURE)
    started = time.monotonic()
    result = server.run(workflow, on_event=_show_progress, timeout=3600)
    say(f"\nUpscaled in {time.monotonic() - started:.1f} s")
    OUTPUT.mkdir(exist_ok=True)
    upscaled, comparison = OUTPUT / "upscaled.png", OUTPUT / "before_after.png"
    upscaled.write_bytes(server.images(result, savers[0])[0])
    script = ROOT / "tools" / "before_after.py"
    process.run_logged([host.python, script, PICTURE, upscaled, comparison], "before_after", "See the log.")
    return comparison


def _show_progress(event: dict[str, Any]) -> None:
    if event["type"] == "progress":
        done, total = event["data"]["value"], event["data"]["max"]
        start, end = ("\r", "") if sys.stdout.isatty() else ("", "\n")
        print(f"{start}Upscaling {done / total:4.0%}", end=end, flush=True)


def _serve(server: ComfyServer) -> None:
    say(f"Open    {server.address} in a browser. Ctrl-C stops the server.")
    try:
        while server.is_alive():
            time.sleep(0.5)
    except KeyboardInterrupt:
        say("\nStopping ComfyUI")
        return
    raise server.failure("ComfyUI stopped unexpectedly.")


if __name__ == "__main__":
    sys.exit(main())
