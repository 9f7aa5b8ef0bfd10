"""The known weight files as data: what each one is, where it comes from, and how to verify it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

_APISR = "https://github.com/Kiteretsu77/APISR"
_APISR_HUB = "https://huggingface.co/HikariDawn/APISR"
_REAL_ESRGAN = "https://github.com/xinntao/Real-ESRGAN"


@dataclass(frozen=True)
class ZooModel:
    """One published weight file."""

    file: str
    """Name of the file, without a folder."""
    title: str
    """One-line description for users."""
    architecture: str
    """Family of the network: "RRDB", "GRL", "DAT" or "Compact"."""
    scale: int
    """Output pixels per input pixel, along one side."""
    parameters: int
    """Number of trained values."""
    bytes: int
    """Exact size of the file."""
    sha256: str
    """SHA-256 of the whole file, 64 lower-case hex digits."""
    urls: tuple[str, ...]
    """Download addresses of exactly this file, in the order to try them."""
    licence: str
    """SPDX identifier of the license of the project that published the file."""
    homepage: str
    """Page of that project."""


def _apisr_urls(tag: str, file: str) -> tuple[str, str]:
    return f"{_APISR}/releases/download/{tag}/{file}", f"{_APISR_HUB}/resolve/main/{file}"


ZOO: tuple[ZooModel, ...] = (
    ZooModel(
        file="4x_APISR_RRDB_GAN_generator.pth",
        title="APISR 4x RRDB: fast",
        architecture="RRDB",
        scale=4,
        parameters=4_467_779,
        bytes=17_942_618,
        sha256="6bd14a66224c90d4754011f378ac828b18e221f2d031026ec99cb5facdf40c19",
        urls=_apisr_urls("v0.2.0", "4x_APISR_RRDB_GAN_generator.pth"),
        licence="GPL-3.0",
        homepage=_APISR,
    ),
    ZooModel(
        file="2x_APISR_RRDB_GAN_generator.pth",
        title="APISR 2x RRDB: fast",
        architecture="RRDB",
        scale=2,
        parameters=4_472_963,
        bytes=17_960_938,
        sha256="3b0d2b3a3c0461ac17d00f4f32240666fb832b738ea5a48449b1acf07fbb07e5",
        urls=_apisr_urls("v0.1.0", "2x_APISR_RRDB_GAN_generator.pth"),
        licence="GPL-3.0",
        homepage=_APISR,
    ),
    ZooModel(
        file="4x_APISR_GRL_GAN_generator.pth",
        title="APISR 4x GRL: the model of the paper",
        architecture="GRL",
        scale=4,
        parameters=1_027_939,
        bytes=6_479_400,
        sha256="56fff250139563dea59c4ca81af19cc098d94dc3abaad23640f14cec488e5da1",
        urls=_apisr_urls("v0.1.0", "4x_APISR_GRL_GAN_generator.pth"),
        licence="GPL-3.0",
        homepage=_APISR,
    ),
    ZooModel(
        file="4x_APISR_DAT_GAN_generator.pth",
        title="APISR 4x DAT: the largest and slowest",
        architecture="DAT",
        scale=4,
        parameters=10_889_040,
        bytes=87_038_898,
        sha256="cc625c4ec5242a57e46f0941a3c36e3a731dcd859750c5f72a5251045b1e6d72",
        urls=_apisr_urls("v0.3.0", "4x_APISR_DAT_GAN_generator.pth"),
        licence="GPL-3.0",
        homepage=_APISR,
    ),
    ZooModel(
        file="realesr-animevideov3.pth",
        title="Real-ESRGAN 4x for anime video: the smallest and fastest",
        architecture="Compact",
        scale=4,
        parameters=621_424,
        bytes=2_504_012,
        sha256="b8a8376811077954d82ca3fcf476f1ac3da3e8a68a4f4d71363008000a18b75d",
        urls=(f"{_REAL_ESRGAN}/releases/download/v0.2.5.0/realesr-animevideov3.pth",),
        licence="BSD-3-Clause",
        homepage=_REAL_ESRGAN,
    ),
    ZooModel(
        file="RealESRGAN_x4plus_anime_6B.pth",
        title="Real-ESRGAN 4x for anime pictures",
        architecture="RRDB",
        scale=4,
        parameters=4_467_779,
        bytes=17_938_799,
        sha256="f872d837d3c90ed2e05227bed711af5671a6fd1c9f7d7e91c911a61f155e99da",
        urls=(f"{_REAL_ESRGAN}/releases/download/v0.2.2.4/RealESRGAN_x4plus_anime_6B.pth",),
        licence="BSD-3-Clause",
        homepage=_REAL_ESRGAN,
    ),
)


def find(file_name: str) -> ZooModel | None:
    """The known model with that file name. Folders before it are ignored, with either separator: workflows are shared
    between operating systems.
    """
    base = file_name.replace("\\", "/").rpartition("/")[2]
    return next((model for model in ZOO if model.file == base), None)


def how_to_get(model: ZooModel, folder: Path) -> str:
    """Instructions for a manual download: addresses, folder, size and sha256, one per line."""
    addresses = "\n".join(f"  {url}" for url in model.urls)
    make = "" if folder.is_dir() else " (make that folder first)"
    return (
        f"To get it by hand, fetch {model.file} from\n{addresses}\n"
        f"and put it in {folder}{make}. Then press R in ComfyUI to refresh its lists.\n"
        f"Size: {model.bytes / 1e6:.1f} MB ({model.bytes} bytes)\n"
        f"sha256: {model.sha256}"
    )


def missing_message(model: ZooModel, folder: Path) -> str:
    """Error text for a known file that is not in `folder`, with what to do about it."""
    return (
        f"The model file {model.file} is not in {folder}.\n"
        "Turn download on in the loader node (from Python: download=True) to fetch it, or get it by hand.\n"
        f"{how_to_get(model, folder)}"
    )
