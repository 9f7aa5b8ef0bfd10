"""What good .pth files hold beside their weights, and what no file may ask for."""

from __future__ import annotations

import argparse
import collections
import datetime
import decimal
import fractions
import os
import pathlib
import sys
import threading
import types
import uuid
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from apisr_pack.apisr_archs import CorruptWeights, UnsafeWeights, UnsupportedWeights
from apisr_pack.apisr_archs.files.checkpoint import read_state_dict
from apisr_pack.apisr_archs.files.inert import STAND_INS, harmless_globals
from apisr_pack.tests.reference import save
from apisr_pack.tests.unit.test_file_contents import WEIGHTS, same

NUMBERS: dict[str, Any] = {
    **{kind: np.dtype(kind).type(1) for kind in ("float64", "float32", "float16", "int64", "int32", "uint8", "bool")},
    "longdouble": np.longdouble(1),
    "complex128": np.complex128(1j),
    "array": np.arange(6.0).reshape(2, 3),
    "array of int64": np.arange(6),
    "big-endian array": np.arange(6, dtype=">i4"),
    "empty array": np.zeros(0, np.float32),
    "random state": np.random.RandomState(1).get_state(),
    "nested": {"psnr": [np.float64(31.2), {"ssim": np.float32(0.9)}], "best": (np.int64(5),)},
}


def in_numpy(version: int, content: Any, path: Path) -> Path:
    """Saved with the names of that version of numpy, regardless of the installed one."""
    old, new = b"cnumpy.core.multiarray\n", b"cnumpy._core.multiarray\n"
    torch.save(content, path.with_suffix(".tmp"))
    with zipfile.ZipFile(path.with_suffix(".tmp")) as source, zipfile.ZipFile(path, "w") as target:
        for name in source.namelist():
            data = source.read(name)
            if name.endswith("data.pkl"):
                data = data.replace(new, old) if version == 1 else data.replace(old, new)
            target.writestr(name, data)
    return path


def shim(module: str) -> Any:
    """Like the one that ComfyUI registers under numpy's name."""

    def scalar(*args: Any, **kwargs: Any) -> None:
        return None

    scalar.__module__, scalar.__qualname__ = module, "scalar"
    return scalar


multiarray = sys.modules[type(np.float64(1)).__reduce__(np.float64(1))[0].__module__]
HOSTS: dict[str, Callable[[], list[Any]]] = {
    "plain Python": list,
    "ComfyUI": lambda: [shim("numpy.core.multiarray"), np.dtype, type(np.dtype("f8"))],
    "real scalar and dtype": lambda: [multiarray.scalar, np.dtype, type(np.dtype("f8"))],
    "real scalar alone": lambda: [multiarray.scalar],
    "real arrays": lambda: [multiarray._reconstruct, np.ndarray, np.dtype, type(np.dtype("f8"))],
    "real arrays by half": lambda: [multiarray._reconstruct],
    "ndarray alone": lambda: [np.ndarray],
}
"""Names that others in the process have allowed."""


@pytest.mark.parametrize("host", HOSTS)
@pytest.mark.parametrize("version", [1, 2])
def test_numpy_numbers_beside_the_weights(host: str, version: int, tmp_path: Path) -> None:
    # torch keeps the names in a set, ordered by address: try more than once, with other objects
    allowed = [HOSTS[host]() for _ in range(2)]
    for name, number in NUMBERS.items():
        path = in_numpy(version, {"params": WEIGHTS, "best": number}, tmp_path / f"{name}.pth")
        for names in allowed:
            with torch.serialization.safe_globals(names):
                assert same(read_state_dict(path)), name


def test_numpy_numbers_in_torch_s_old_format(tmp_path: Path) -> None:
    content = {"params": WEIGHTS, "best": NUMBERS}
    torch.save(content, tmp_path / "a.pth", _use_new_zipfile_serialization=False)
    assert same(read_state_dict(tmp_path / "a.pth"))


@pytest.mark.parametrize("host", HOSTS)
def test_what_others_allowed_stays_as_it_was(host: str, tmp_path: Path) -> None:
    path = save({"params": WEIGHTS, "best": NUMBERS}, tmp_path / "a.pth")
    with torch.serialization.safe_globals(HOSTS[host]()):
        before = set(torch.serialization.get_safe_globals())
        assert same(read_state_dict(path))
        assert set(torch.serialization.get_safe_globals()) == before
        path.write_bytes(path.read_bytes()[:-100])
        with pytest.raises(CorruptWeights):
            read_state_dict(path)
        assert set(torch.serialization.get_safe_globals()) == before


def test_the_names_are_allowed_for_one_thread_at_a_time() -> None:
    """The first thread to leave would remove them for the others."""
    entered = threading.Event()

    def enter() -> None:
        with harmless_globals():
            entered.set()

    thread = threading.Thread(target=enter)
    with harmless_globals():
        thread.start()
        assert not entered.wait(0.2)
    thread.join()
    assert entered.is_set()


def test_no_file_is_read_while_the_names_change(tmp_path: Path) -> None:
    """torch looks a name up twice; one that goes away in between makes a good file seem damaged."""
    path, found = save(WEIGHTS, tmp_path / "a.pth"), threading.Event()

    def read() -> None:
        if same(read_state_dict(path)):
            found.set()

    thread = threading.Thread(target=read)
    with harmless_globals():
        thread.start()
        assert not found.wait(0.5)
    thread.join()
    assert found.is_set()


def test_three_threads_with_numpy_numbers(tmp_path: Path) -> None:
    path = save({"params": WEIGHTS, "best": NUMBERS}, tmp_path / "a.pth")
    before, failed = set(torch.serialization.get_safe_globals()), []

    def work() -> None:
        try:
            assert all(same(read_state_dict(path)) for _ in range(30))
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failed
    assert set(torch.serialization.get_safe_globals()) == before


@pytest.mark.parametrize("host", HOSTS)
@pytest.mark.parametrize(
    "array",
    [np.array([{}], dtype=object), np.array([b"text"]), np.zeros(1, "f8,O"), np.zeros(1, "M8[s]"), np.str_("text")],
)
def test_numpy_of_other_things_than_numbers(host: str, array: Any, tmp_path: Path) -> None:
    """They are skipped like numbers: no numpy object is made of them."""
    path = save({"params": WEIGHTS, "x": array}, tmp_path / "a.pth")
    with torch.serialization.safe_globals(HOSTS[host]()):
        assert read_state_dict(path).keys() == WEIGHTS.keys()


class AttributeDict(dict[str, Any]):
    """Lightning's, which is not installed here."""


class OmegaConf:
    """Of an unknown library."""


def lightning() -> AttributeDict:
    return AttributeDict(scale=4, path=pathlib.Path("a"))


@pytest.mark.parametrize(
    "beside",
    [
        lambda: collections.OrderedDict(a=1),
        lambda: collections.Counter("aab"),
        lambda: collections.defaultdict(list, a=[1.0]),
        lambda: collections.defaultdict(float, a=1.0),
        lambda: pathlib.Path("a/b"),
        lambda: argparse.Namespace(scale=4, out=pathlib.Path("a")),
        lambda: datetime.datetime(2026, 1, 1, tzinfo=datetime.timezone.utc),
        lambda: datetime.time(12, 30),
        lambda: torch.__version__,
        lambda: [decimal.Decimal("1e-4"), fractions.Fraction(1, 3), uuid.UUID(int=7)],
        lambda: [collections.deque([1.0, 2.0]), collections.deque(range(9), maxlen=3), collections.deque()],
        lambda: [frozenset(), frozenset({1}), {1, 2}, slice(1, None), range(3), ..., NotImplemented],
        lambda: types.SimpleNamespace(scale=4, sizes=[types.SimpleNamespace()]),
        lightning,
    ],
)
def test_harmless_things_beside_the_weights(
    beside: Callable[[], Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = type(sys)("lightning.fabric.utilities.data")
    module.AttributeDict = AttributeDict
    monkeypatch.setitem(sys.modules, "lightning", module)
    monkeypatch.setitem(sys.modules, module.__name__, module)
    monkeypatch.setattr(AttributeDict, "__module__", module.__name__)
    content = {"state_dict": WEIGHTS, "hyper_parameters": beside()}
    save(content, tmp_path / "a.pth")
    monkeypatch.undo()
    assert same(read_state_dict(tmp_path / "a.pth"))


def test_things_of_unknown_libraries_are_refused(tmp_path: Path) -> None:
    path = save({"params": WEIGHTS, "opt": OmegaConf()}, tmp_path / "a.pth")
    with pytest.raises(UnsafeWeights, match=r"more than weights in it \(.*test_pickles\.OmegaConf\)"):
        read_state_dict(path)


@pytest.mark.parametrize("protocol", [4, 5])
@pytest.mark.parametrize("new_format", [True, False])
def test_newer_pickle_protocols_are_named(protocol: int, new_format: bool, tmp_path: Path) -> None:
    """torch does not read all of their opcodes; that makes a file neither dangerous nor damaged."""
    path = tmp_path / "a.pth"
    content = {"params": WEIGHTS, "epoch": 3}
    torch.save(content, path, pickle_protocol=protocol, _use_new_zipfile_serialization=new_format)
    says = rf"a\.pth was saved with pickle protocol {protocol}, which torch cannot read safely.*protocol 2"
    with pytest.raises(UnsupportedWeights, match=says):
        read_state_dict(path)


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
@pytest.mark.parametrize("new_format", [True, False])
def test_what_a_dangerous_file_asks_for_is_named(protocol: int, new_format: bool, tmp_path: Path) -> None:
    class RunsCode:
        def __reduce__(self) -> tuple[Any, ...]:
            return os.system, ("true",)

    path = tmp_path / "a.pth"
    content = {"params": WEIGHTS, "x": RunsCode()}
    torch.save(content, path, pickle_protocol=protocol, _use_new_zipfile_serialization=new_format)
    with pytest.raises(UnsafeWeights, match=rf"more than weights in it \({os.name}\.system\).*can run any code"):
        read_state_dict(path)


def test_nothing_of_a_file_is_called_under_a_harmless_name(tmp_path: Path) -> None:
    """Not even with the arguments that the real one would take."""
    for stand_in in STAND_INS:
        if isinstance(stand_in, type):
            made = stand_in("print", {"a": 1})
            assert isinstance(made, stand_in) or made in ({}, [])
            assert not hasattr(stand_in("print"), "a")


@pytest.mark.parametrize("name", ["scalar", "posix", "eval"])
def test_code_beside_numpy_numbers_does_not_run(name: str, tmp_path: Path) -> None:
    marker, path = tmp_path / "ran", tmp_path / "a.pth"

    class RunsCode:
        def __reduce__(self) -> tuple[Any, ...]:
            return (os.mkdir, (str(marker),)) if name != "eval" else (eval, (f"open({str(marker)!r}, 'w')",))

    torch.save({"params": WEIGHTS, "best": np.float64(1), name: RunsCode()}, path)
    with pytest.raises(UnsafeWeights, match="can run any code"):
        read_state_dict(path)
    assert not marker.exists()
