"""What the list of models shows, and which file each entry stands for."""

from pathlib import Path

import folder_paths

from ..apisr_archs import MissingWeights, zoo
from ..apisr_archs.download import refuse_offline

FOLDER = "upscale_models"
BUNDLED = "realesr-animevideov3 (bundled)"
BUNDLED_FILE = Path(__file__).parent.parent / "models" / "realesr-animevideov3.safetensors"


def names() -> list[str]:
    """All entries: the bundled model, then the zoo, there or not, then the user's other upscale models."""
    there = folder_paths.get_filename_list(FOLDER)
    known = [_listed_as(model.file, there) or model.file for model in zoo.ZOO]
    return [BUNDLED, *known, *(name for name in there if name not in known)]


def find(name: str) -> Path | None:
    """The file behind an entry, or None if it is not on this machine.

    Workflows travel: either path separator is understood, and a zoo model is found in any subfolder.
    """
    if name == BUNDLED:
        return BUNDLED_FILE
    there = folder_paths.get_filename_list(FOLDER)
    listed = next((entry for entry in there if _plain(entry) == _plain(name)), None)
    if listed is None and zoo.find(name):
        listed = _listed_as(name, there)
    path = folder_paths.get_full_path(FOLDER, listed) if listed else None  # None if it was deleted just now
    return Path(path) if path else None


def download_folder() -> Path:
    """Where downloads go: the first folder of upscale models."""
    return Path(folder_paths.get_folder_paths(FOLDER)[0])


def locate(name: str, download: bool) -> Path | zoo.ZooModel:
    """The file behind an entry, or the zoo model that must be downloaded first.

    Raises:
        MissingWeights: it is not on this machine, and is not to be downloaded.
        DownloadFailed: it cannot be: the environment forbids connections.
    """
    name = str(name)  # a script may send anything
    path = find(name)
    if path is not None:
        return path
    known = zoo.find(name)
    if known is None:
        folders = " or ".join(folder_paths.get_folder_paths(FOLDER))
        raise MissingWeights(
            f"There is no model {name!r} in {folders}. Put the file there and press R, or choose another model."
        )
    if not download:
        raise MissingWeights(zoo.missing_message(known, download_folder()))
    refuse_offline(known, download_folder())
    return known


def _listed_as(file: str, there: list[str]) -> str | None:
    """How a file is listed if it lies in a folder of upscale models or anywhere below."""
    wanted = _plain(file).rpartition("/")[2]
    return next((entry for entry in there if _plain(entry).rpartition("/")[2] == wanted), None)


def _plain(name: str) -> str:
    return name.replace("\\", "/")
