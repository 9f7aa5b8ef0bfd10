"""What the list of models shows, and which file each entry stands for."""

import os
import tempfile
from functools import lru_cache
from pathlib import Path

import folder_paths

from ..apisr_archs import DownloadFailed, MissingWeights
from ..apisr_archs.files import zoo
from ..apisr_archs.files.download import broken_link, difference, refuse_offline
from ..apisr_archs.text import get_logger

log = get_logger(__name__)

FOLDER = "upscale_models"
BUNDLED = "realesr-animevideov3 (bundled)"
BUNDLED_FILE = Path(__file__).parent.parent / "models" / "realesr-animevideov3.safetensors"

Fingerprint = tuple[str, str | int, str | int]


def names() -> list[str]:
    """All entries: the bundled model, then the zoo, there or not, then the user's other upscale models."""
    there = _files()
    known = [_listed_as(model.file, there) or model.file for model in zoo.ZOO]
    return [BUNDLED, *known, *(name for name in there if name not in known)]


def find(name: str) -> Path | None:
    """The file behind an entry, or None if it is not on this machine.

    Workflows travel: either path separator is understood, and a zoo model is found in any subfolder.
    """
    if name == BUNDLED:
        return BUNDLED_FILE
    listed = _entry(name)
    # not by folder_paths.get_full_path: that logs a broken link, and fails if the log's encoding lacks its name
    paths = (Path(folder, listed) for folder in folder_paths.get_folder_paths(FOLDER)) if listed else ()
    return next((path for path in paths if path.is_file()), None)  # None if it was deleted just now


def fingerprint(name: str, download: bool) -> Fingerprint | None:
    """Tells apart what an entry would load: equal for equal content. None if that is nothing. Never raises OSError.

    A published file has the same fingerprint before its download and after it.
    """
    path = find(name)
    if path is None:
        known = zoo.find(name)
        return (known.file, known.bytes, known.sha256) if known and download else None
    try:
        stat = path.stat()
    except OSError:  # deleted just now
        return None
    known = zoo.find(path.name)
    if known and unlike_published(path) is None:
        return known.file, known.bytes, known.sha256
    return str(path), stat.st_mtime_ns, stat.st_size


def unlike_published(path: Path) -> str | None:
    """How a file with the name of a zoo model differs from the published one, in words; None if it does not."""
    known = zoo.find(path.name)
    try:
        stat = path.stat()
        return _difference(known, path, stat.st_mtime_ns, stat.st_size) if known else None
    except OSError as error:
        return f"it cannot be read ({error})"


@lru_cache(maxsize=2 * len(zoo.ZOO))
def _difference(known: zoo.ZooModel, path: Path, _mtime_ns: int, _size: int) -> str | None:
    """Each state of a file is hashed once: ComfyUI asks for fingerprints in every run."""
    return difference(known, path)


def download_folder() -> Path:
    """Where downloads go: the first folder of upscale models that exists and may be written to.

    If there is none, the first that can be made because its parent is such a folder.

    Raises:
        DownloadFailed: there is none of either kind.
    """
    folders = [Path(folder) for folder in folder_paths.get_folder_paths(FOLDER)]
    for folder in folders:
        if _may_write(folder):
            return folder
    for folder in folders:
        if not os.path.lexists(folder) and _may_write(folder.parent):
            return folder
    raise DownloadFailed(
        f"No folder for upscale models can be written to: {_either(folders)}. Make one of them, change its rights, or "
        "name another one in ComfyUI's extra_model_paths.yaml."
    )


def locate(name: str, download: bool) -> Path | zoo.ZooModel:
    """The file behind an entry, or the zoo model that must be downloaded first.

    Raises:
        MissingWeights: it is not on this machine, and is not to be downloaded; or it is a link to what is not there.
        DownloadFailed: it cannot be: the environment forbids connections, or there is no folder for it.
    """
    path = find(name)
    if path is not None:
        return path
    _refuse_broken_link(name)
    known = zoo.find(name)
    if known is None:
        folders = [Path(folder) for folder in folder_paths.get_folder_paths(FOLDER)]
        there = [folder for folder in folders if folder.is_dir()]
        if not there:
            raise MissingWeights(
                f"There is no model {name!r}, and no folder for it: {_faults(folders)}. Make the folder, put the file "
                "there and press R, or choose another model."
            )
        raise MissingWeights(
            f"There is no model {name!r} in {_either(there)}. Put the file there and press R, or choose another model."
        )
    if not download:
        raise MissingWeights(zoo.missing_message(known, download_folder()))
    refuse_offline(known, download_folder())
    return known


def _refuse_broken_link(name: str) -> None:
    listed = _entry(name)
    for folder in folder_paths.get_folder_paths(FOLDER):
        path = Path(folder, listed or "")
        if listed and path.is_symlink() and not path.exists():
            raise MissingWeights(broken_link(path))


def _files() -> list[str]:
    """ComfyUI's list of files in the folders of upscale models; links to nothing are in it too."""
    try:
        return folder_paths.get_filename_list(FOLDER)
    except (OSError, UnicodeEncodeError):  # ComfyUI compares with its last listing, and a folder of that is gone
        folder_paths.filename_list_cache.pop(FOLDER, None)
    try:
        return folder_paths.get_filename_list(FOLDER)
    except (OSError, UnicodeEncodeError) as error:  # the latter if it logs a name that the log's encoding lacks
        log.warning("The upscale models cannot be listed: %s", error)
        return []


def _entry(name: str) -> str | None:
    """How the file that `name` means is listed; None if it is not."""
    there = _files()
    listed = next((entry for entry in there if _plain(entry) == _plain(name)), None)
    return _listed_as(name, there) if listed is None and zoo.find(name) else listed


def _listed_as(file: str, there: list[str]) -> str | None:
    """How a file is listed if it lies in a folder of upscale models or anywhere below."""
    wanted = _plain(file).rpartition("/")[2]
    return next((entry for entry in there if _plain(entry).rpartition("/")[2] == wanted), None)


def _may_write(folder: Path) -> bool:
    """Whether files can be made there. Tried out: rights alone do not tell, as on a disk that is mounted read-only."""
    try:
        with tempfile.TemporaryFile(dir=folder):
            return True
    except OSError:
        return False


def _either(folders: list[Path]) -> str:
    return " or ".join(map(str, folders))


def _faults(folders: list[Path]) -> str:
    """Why none of these is a folder."""
    faults = []
    for folder in folders:
        if folder.exists():
            fault = "is a file"
        elif folder.is_symlink():
            fault = f"is a broken link (to {folder.readlink()})"
        else:
            fault = "does not exist"
        faults.append(f"{folder} {fault}")
    return ", ".join(faults)


def _plain(name: str) -> str:
    return name.replace("\\", "/")
