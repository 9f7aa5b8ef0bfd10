"""A path or the name of a known model: where it is searched, when it is downloaded, and the errors for the rest."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from apisr_pack.apisr_archs import DownloadFailed, MissingWeights, load_model
from apisr_pack.apisr_archs.files import locate, zoo
from apisr_pack.tests import trained
from apisr_pack.tests.reference import rrdb_state_dict, save
from apisr_pack.tests.unit.http_server import FileServer, body, running

KNOWN = "4x_APISR_RRDB_GAN_generator.pth"
BUNDLED = trained.ROOT / "models" / "realesr-animevideov3.safetensors"


@pytest.fixture
def models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder instead of the pack's own; the current folder is another empty one."""
    models, current = tmp_path / "models", tmp_path / "current"
    models.mkdir()
    current.mkdir()
    monkeypatch.setattr(locate, "MODELS", models)
    monkeypatch.chdir(current)
    return models


@pytest.fixture
def published(tmp_path: Path, models: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FileServer]:
    """A server that has KNOWN, here a small RRDB."""
    content = save(rrdb_state_dict(blocks=1), tmp_path / "published").read_bytes()
    with running() as server:
        server.answers["/a"] = [body(content)]
        changes: dict[str, Any] = {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
        monkeypatch.setattr(zoo, "ZOO", (replace(zoo.ZOO[0], urls=(f"{server.address}/a",), **changes),))
        yield server


@pytest.mark.parametrize("name", ["realesr-animevideov3", "realesr-animevideov3.safetensors"])
def test_the_bundled_model_has_a_name(name: str) -> None:
    assert locate.locate(name) == BUNDLED


def test_a_name_is_looked_for_in_the_current_folder_and_then_in_that_of_the_pack(models: Path) -> None:
    in_models = save(rrdb_state_dict(blocks=1), models / "my.pth")
    assert locate.locate("my.pth") == in_models
    here = save(rrdb_state_dict(blocks=2), Path("my.pth"))
    assert locate.locate("my.pth") == here
    assert len(load_model("my.pth").model.state_dict()) > len(load_model(in_models).model.state_dict())


def test_a_path_is_looked_for_nowhere_else(models: Path) -> None:
    save(rrdb_state_dict(blocks=1), models / "my.pth")
    for path in ("./my.pth", Path("sub", "my.pth"), Path.cwd() / "my.pth"):
        with pytest.raises(MissingWeights, match=r"There is no model file .*my\.pth\.$"):
            load_model(path)


def test_a_folder_of_the_same_name_is_not_in_the_way(models: Path) -> None:
    Path("realesr-animevideov3").mkdir()
    (models / BUNDLED.name).write_bytes(BUNDLED.read_bytes())
    assert load_model("realesr-animevideov3").scale == 4


def test_a_known_model_is_fetched_by_its_name_once(models: Path, published: FileServer) -> None:
    model = load_model(KNOWN, download=True)
    assert model(torch.rand(1, 3, 4, 4)).shape == (1, 3, 16, 16)
    assert [path.name for path in models.iterdir()] == [KNOWN]
    load_model(KNOWN, download=True)
    load_model(KNOWN)
    assert len(published.seen) == 1


def test_a_known_model_is_fetched_into_the_folder_of_its_path(models: Path, published: FileServer) -> None:
    """Also into a folder that does not exist yet, as `download` does."""
    load_model(f"weights/{KNOWN}", download=True)
    load_model(f"./{KNOWN}", download=True)
    assert Path("weights", KNOWN).is_file()
    assert Path(KNOWN).is_file()
    assert not list(models.iterdir())


@pytest.mark.parametrize("path", [KNOWN, f"weights/{KNOWN}"])
def test_nothing_is_fetched_that_was_not_asked_for(path: str, models: Path, published: FileServer) -> None:
    with pytest.raises(MissingWeights, match=r"download=True") as caught:
        load_model(path)
    assert str(models if path == KNOWN else Path.cwd() / "weights") in str(caught.value)
    assert f"{published.address}/a" in str(caught.value)
    assert not published.seen


def test_nothing_is_fetched_where_the_environment_forbids_it(
    models: Path, published: FileServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("APISR_OFFLINE", "1")
    with pytest.raises(DownloadFailed, match="APISR_OFFLINE"):
        load_model(KNOWN, download=True)
    assert not published.seen


def test_wrong_arguments_are_noticed_before_the_download(models: Path, published: FileServer) -> None:
    wrong: list[dict[str, Any]] = [{"precision": "half"}, {"device": "gpu"}]
    for arguments in wrong:
        with pytest.raises(ValueError, match="expected"):
            load_model(KNOWN, download=True, **arguments)
    assert not published.seen


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("4x_APISR_RRDB", "4x_APISR_RRDB_GAN_generator.pth"),
        ("4x_apisr_rrdb_gan_generator", "4x_APISR_RRDB_GAN_generator.pth"),
        ("4x_APSIR_RRBD_GAN_generator.pth", "4x_APISR_RRDB_GAN_generator.pth"),
        ("4x-APISR-GRL", "4x_APISR_GRL_GAN_generator.pth"),
        ("RRDB", "4x_APISR_RRDB_GAN_generator.pth or 2x_APISR_RRDB_GAN_generator.pth"),
        ("realesr_animevideov3", "realesr-animevideov3"),
    ],
)
@pytest.mark.parametrize("download", [False, True])
def test_a_name_that_is_nearly_right(name: str, meant: str, download: bool, models: Path) -> None:
    with pytest.raises(MissingWeights) as caught:
        load_model(name, download=download)
    assert f"Did you mean {meant}" in str(caught.value)


def test_a_name_like_no_other_gets_the_list(models: Path) -> None:
    with pytest.raises(MissingWeights, match=r"'xyz\.pth' in the current folder") as caught:
        load_model("xyz.pth")
    for name in ("realesr-animevideov3", *(model.file for model in zoo.ZOO)):
        assert name in str(caught.value)


@pytest.mark.parametrize("value", [None, {"conv.weight": torch.zeros(1)}, torch.zeros(1), b"a.pth", 4])
def test_what_is_neither_path_nor_name(value: Any) -> None:
    with pytest.raises(ValueError, match=r"^path_or_name is of the type \w+; expected the path"):
        load_model(value)


@pytest.mark.parametrize("place", ["", ".", "..", "sub"])
def test_a_folder_is_said_to_be_one(place: str, models: Path) -> None:
    Path("sub").mkdir()
    with pytest.raises(MissingWeights, match="is a folder, not a model file"):
        load_model(place)


def test_an_address_is_not_a_path(models: Path) -> None:
    with pytest.raises(MissingWeights, match=r"^https://.* is an address; .* give its path"):
        load_model(f"https://huggingface.co/HikariDawn/APISR/resolve/main/{KNOWN}", download=True)
    assert not list(Path.cwd().iterdir())


@pytest.mark.parametrize(
    ("device", "words"),
    [
        ("gpu", r"device is 'gpu'; expected a device of torch.*are \"cuda\" in torch\."),
        ("CPU", r"device is 'CPU'; expected a device of torch"),
        (None, r"device is None; expected a device of torch"),
        ("vulkan", r"device is 'vulkan', which torch cannot use here \([^()]+\)\. Use \"cpu\"\."),
        ("cuda:99", r"device is 'cuda:99', which torch cannot use here \([^()]+\)\. Use \"cpu\"\."),
    ],
)
def test_a_device_that_torch_does_not_have(device: Any, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        load_model(BUNDLED, device=device)


@pytest.mark.parametrize("precision", ["half", "FP16", torch.float16, None, ["fp16"]])
def test_a_precision_that_there_is_not(precision: Any) -> None:
    with pytest.raises(ValueError, match=r"precision is .*; expected one of fp32, fp16, bf16"):
        load_model(BUNDLED, precision)
