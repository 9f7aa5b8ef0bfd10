"""The known files: data that can be right, found by name, and named in full when one is missing."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from apisr_pack.apisr_archs.files import zoo

APISR_FILES = [
    "2x_APISR_RRDB_GAN_generator.pth",
    "4x_APISR_RRDB_GAN_generator.pth",
    "4x_APISR_GRL_GAN_generator.pth",
    "4x_APISR_DAT_GAN_generator.pth",
]
ids = {"ids": lambda model: model.file}


@pytest.mark.parametrize("model", zoo.ZOO, **ids)
def test_each_entry_is_well_formed(model: zoo.ZooModel) -> None:
    assert re.fullmatch(r"[0-9a-f]{64}", model.sha256)
    assert model.bytes >= 4 * model.parameters  # float32
    assert model.architecture in {"RRDB", "GRL", "DAT", "Compact"}
    assert model.file.endswith(".pth")
    assert model.urls
    for url in model.urls:
        assert re.match(r"https://(github\.com|huggingface\.co)/", url)
        assert url.endswith(f"/{model.file}")


def test_no_two_entries_share_a_name_or_a_hash() -> None:
    assert len({model.file for model in zoo.ZOO}) == len({model.sha256 for model in zoo.ZOO}) == 6


@pytest.mark.parametrize("file", APISR_FILES)
def test_apisr_files_come_from_the_release_and_then_from_the_hub(file: str) -> None:
    model = zoo.find(file)
    assert model is not None
    release, hub = model.urls
    assert release.startswith("https://github.com/Kiteretsu77/APISR/releases/download/v0.")
    # The only one of the two that the frontend's own dialog for missing models accepts.
    assert hub == f"https://huggingface.co/HikariDawn/APISR/resolve/main/{file}"
    assert model.scale == int(file[0])


@pytest.mark.parametrize("model", zoo.ZOO, **ids)
@pytest.mark.parametrize("before", ["", "anime/", "anime\\", "C:\\models\\a/b\\"])
def test_found_by_name_whatever_folder_is_before_it(model: zoo.ZooModel, before: str) -> None:
    assert zoo.find(before + model.file) is model


@pytest.mark.parametrize("name", ["", "unknown.pth", "my_4x_APISR_GRL_GAN_generator.pth", "realesr-animevideov3"])
def test_other_names_are_not_known(name: str) -> None:
    assert zoo.find(name) is None


@pytest.mark.parametrize("model", zoo.ZOO, **ids)
def test_message_for_a_missing_file_has_all_that_is_needed(model: zoo.ZooModel) -> None:
    folder = Path("some") / "upscale_models"
    message = zoo.missing_message(model, folder)
    for part in (model.file, str(folder), *model.urls, f"{model.bytes} bytes", " MB", model.sha256):
        assert part in message
    assert "Turn download on" in message
    assert "press R" in message
