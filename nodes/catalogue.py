"""The entries of the model list, and the file behind each entry."""

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
LEGACY_FOLDER = "apisr"
"""Where an earlier APISR pack kept its models, in ComfyUI's folder models. Only read."""
UNLISTED = "realesr-animevideov3.pth"
"""The bundled model as its authors publish it: listed only where it is there."""
BUNDLED = "realesr-animevideov3 (bundled)"
BUNDLED_FILE = Path(__file__).parent.parent / "models" / "realesr-animevideov3.safetensors"

Fingerprint = tuple[str, str | int, str | int]


def names() -> list[str]:
    """All entries: the bundled model, the zoo (downloaded or not), then the user's other upscale models."""
    files = _files()
    known = [_find_entry(model.file, files) or model.file for model in zoo.ZOO]
    listed = [name for name in known if name != UNLISTED or name in files]
    return [BUNDLED, *listed, *(name for name in files if name not in known)]


def published(name: str) -> zoo.ZooModel | None:
    """The published model behind an entry; for the bundled one, that which it was made from."""
    return zoo.find(UNLISTED if name == BUNDLED else name)


def file_name(name: str) -> str:
    """The name of the file behind an entry, without folders."""
    return BUNDLED_FILE.name if name == BUNDLED else _with_slashes(name).rpartition("/")[2]


def short_name(name: str) -> str:
    """A name for places with little room: "RRDB 4x" for a published model, else the file's name."""
    known = published(name)
    return f"{known.architecture} {known.scale}x" if known else file_name(name)


def find(name: str) -> Path | None:
    """The file behind an entry, or None if it is not on this machine.

    Workflows are shared between machines: both path separators work, and a zoo model is found in any subfolder.
    """
    if name == BUNDLED:
        return BUNDLED_FILE
    listed = _entry(name)
    # folder_paths.get_full_path would log broken links, and fail if the log's encoding cannot write their names
    paths = (Path(folder, listed) for folder in _folders()) if listed else ()
    return next((path for path in paths if path.is_file()), None)  # None if it was just deleted


def fingerprint(name: str, download: bool) -> Fingerprint | None:
    """Identifies the content that an entry would load; None if it would load nothing. Never raises OSError.

    A published file has the same fingerprint before and after its download.
    """
    path = find(name)
    if path is None:
        known = zoo.find(name)
        return (known.file, known.bytes, known.sha256) if known and download else None
    try:
        stat = path.stat()
    except OSError:  # just deleted
        return None
    known = zoo.find(path.name)
    if known and unlike_published(path) is None:
        return known.file, known.bytes, known.sha256
    return str(path), stat.st_mtime_ns, stat.st_size


def unlike_published(path: Path) -> str | None:
    """A description of how a file named like a zoo model differs from the published file; None if it does not."""
    known = zoo.find(path.name)
    try:
        stat = path.stat()
        return _difference(known, path, stat.st_mtime_ns, stat.st_size) if known else None
    except OSError as error:
        return f"it cannot be read ({error})"


@lru_cache(maxsize=2 * len(zoo.ZOO))
def _difference(known: zoo.ZooModel, path: Path, _mtime_ns: int, _size: int) -> str | None:
    """Cached by time and size, so that an unchanged file is hashed only once: every run asks for fingerprints."""
    return difference(known, path)


def download_folder() -> Path:
    """The folder to download to: the first folder for upscale models that exists and is writable.

    Otherwise the first that can be created, because its parent is writable.

    Raises:
        DownloadFailed: there is no such folder.
    """
    folders = [Path(folder) for folder in folder_paths.get_folder_paths(FOLDER)]
    for folder in folders:
        if _is_writable(folder):
            return folder
    for folder in folders:
        if not os.path.lexists(folder) and _is_writable(folder.parent):
            return folder
    raise DownloadFailed(
        f"No folder for upscale models can be written to: {_join(folders)}. Create one, change its permissions, or "
        "name another one in ComfyUI's extra_model_paths.yaml."
    )


def locate(name: str, download: bool) -> Path | zoo.ZooModel:
    """The file behind an entry, or the zoo model that must be downloaded first.

    Raises:
        MissingWeights: the file is not on this machine and is not to be downloaded, or it is a broken link.
        DownloadFailed: it cannot be downloaded: the environment forbids connections, or no folder is writable.
    """
    path = find(name)
    if path is not None:
        return path
    _refuse_broken_link(name)
    known = zoo.find(name)
    if known is None:
        folders = [Path(folder) for folder in folder_paths.get_folder_paths(FOLDER)]
        existing = [folder for folder in folders if folder.is_dir()]
        if not existing:
            raise MissingWeights(
                f"There is no model {name!r}, and no folder for it: {_explain(folders)}. Make the folder, put the "
                "file there and press R, or choose another model."
            )
        raise MissingWeights(
            f"There is no model {name!r} in {_join(existing)}. Put the file there and press R, or choose another model."
        )
    if not download:
        raise MissingWeights(zoo.missing_message(known, download_folder()))
    refuse_offline(known, download_folder())
    return known


def _refuse_broken_link(name: str) -> None:
    listed = _entry(name)
    for folder in _folders():
        path = Path(folder, listed or "")
        if listed and path.is_symlink() and not path.exists():
            raise MissingWeights(broken_link(path))


def _folders() -> list[str]:
    """The folders for upscale models, then those of the earlier pack, which may have registered others itself."""
    legacy, _ = folder_paths.folder_names_and_paths.get(LEGACY_FOLDER, ([], ()))
    default = str(Path(folder_paths.models_dir, LEGACY_FOLDER))
    return [*folder_paths.get_folder_paths(FOLDER), *dict.fromkeys([*legacy, default])]


def _files() -> list[str]:
    """The models in all these folders, including broken links."""
    listed = _upscale_models()
    legacy = _folders()[len(folder_paths.get_folder_paths(FOLDER)) :]
    found = (name for folder in legacy for name in folder_paths.recursive_search(folder)[0])
    models = folder_paths.filter_files_extensions(list(found), folder_paths.supported_pt_extensions)
    return [*listed, *(name for name in models if name not in listed)]


def _upscale_models() -> list[str]:
    """ComfyUI's list of files in the folders for upscale models."""
    try:
        return folder_paths.get_filename_list(FOLDER)
    except (OSError, UnicodeEncodeError):  # a folder in ComfyUI's cached list was deleted
        folder_paths.filename_list_cache.pop(FOLDER, None)
    try:
        return folder_paths.get_filename_list(FOLDER)
    except (OSError, UnicodeEncodeError) as error:  # UnicodeEncodeError: it logged a name that the log cannot encode
        log.warning("The upscale models cannot be listed: %s", error)
        return []


def _entry(name: str) -> str | None:
    """The list entry for the file that `name` refers to; None if it is not listed."""
    files = _files()
    listed = next((entry for entry in files if _with_slashes(entry) == _with_slashes(name)), None)
    return _find_entry(name, files) if listed is None and zoo.find(name) else listed


def _find_entry(file: str, files: list[str]) -> str | None:
    """The list entry for a file of that name in any folder or subfolder; None if there is none."""
    wanted = _with_slashes(file).rpartition("/")[2]
    return next((entry for entry in files if _with_slashes(entry).rpartition("/")[2] == wanted), None)


def _is_writable(folder: Path) -> bool:
    """Whether files can be created there. Tested by creating one: the disk may be read-only in spite of permissions."""
    try:
        with tempfile.TemporaryFile(dir=folder):
            return True
    except OSError:
        return False


def _join(folders: list[Path]) -> str:
    return " or ".join(map(str, folders))


def _explain(folders: list[Path]) -> str:
    """The reason why each of these is not a folder."""
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


def _with_slashes(name: str) -> str:
    return name.replace("\\", "/")
