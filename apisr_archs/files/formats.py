"""Recognizes files that are not PyTorch weights and says what to do about each. Nothing is unpacked or run."""

import codecs
import re
import tarfile
import zipfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from ..errors import ApisrError, CorruptWeights, UnsafeWeights, UnsupportedWeights
from ..text import shown
from .zoo import find

HEAD = 512
"""Number of bytes at the start of a file from which its format is detected."""
ENCODING_BYTES = 16
"""Number of bytes at the start from which the encoding of a text file is guessed."""
MODEL_SUFFIXES = (".pth", ".pt", ".ckpt", ".safetensors", ".bin")
EXPORTS = {".param": "an NCNN model", ".xml": "an OpenVINO model", ".onnx": "an ONNX model", ".gguf": "a GGUF model"}
"""Suffixes of models exported for other programs. Some of these keep their weights in a .bin file beside them."""
WEB_PAGE_STARTS = ("<!doctype", "<html", "<?xml", "<head", "<script", "<!--")
TEXT_KINDS = {
    "a shortcut to a web page": re.compile(r"\[InternetShortcut\]", re.IGNORECASE),
    "a JSON text": re.compile(r"\{\s*(\"|\}|$)|\[\s*([\[\]{\"\d-]|true|false|null|$)"),
}
"""Kinds of text files, recognized by how they begin."""
ASCII_TEXT = frozenset(b"\t\n\r" + bytes(range(0x20, 0x7F)))

UNPACK = "Unpack it and put the model inside it, a .pth or .safetensors file, in its place."
OTHER_PROGRAM = "It is for other programs. Get the same model as .pth or .safetensors."


@dataclass(frozen=True)
class Format:
    """A file format, recognized by its magic bytes `begins` at offset `at`."""

    name: str
    begins: bytes
    at: int = 0
    advice: str | None = None
    """What the user can do; None if the download went wrong and should be repeated."""


FORMATS = (
    Format("a 7z archive", b"7z\xbc\xaf\x27\x1c", advice=UNPACK),
    Format("a RAR archive", b"Rar!\x1a\x07", advice=UNPACK),
    Format("a gzip archive", b"\x1f\x8b", advice=UNPACK),
    Format("an xz archive", b"\xfd7zXZ\0", advice=UNPACK),
    Format("a bzip2 archive", b"BZh", advice=UNPACK),
    Format("a Zstandard archive", b"\x28\xb5\x2f\xfd", advice=UNPACK),
    Format("an LZ4 archive", b"\x04\x22\x4d\x18", advice=UNPACK),
    Format("an NCNN model (.bin, fp16)", b"\x47\x6b\x30\x01", advice=OTHER_PROGRAM),
    Format("an NCNN model (.bin, int8)", b"\x38\x4b\x0d\x00", advice=OTHER_PROGRAM),
    Format("an NCNN model (.bin, fp32)", b"\x56\xc0\x02\x00", advice=OTHER_PROGRAM),
    Format("an NCNN model (.param)", b"7767517", advice=OTHER_PROGRAM),
    Format("an NCNN model (.param, binary)", (7767517).to_bytes(4, "little"), advice=OTHER_PROGRAM),
    Format("a GGUF model", b"GGUF", advice=OTHER_PROGRAM),
    Format("a GGML model", b"lmgg", advice=OTHER_PROGRAM),
    Format("a TensorRT engine", b"ftrt", advice=OTHER_PROGRAM),
    Format("a TensorRT engine", b"ptrt", advice=OTHER_PROGRAM),
    Format("a TensorFlow Lite model", b"TFL3", 4, OTHER_PROGRAM),
    Format("a TensorFlow SavedModel", b"\x08\x01\x12", advice=OTHER_PROGRAM),
    Format("an HDF5 file (Keras)", b"\x89HDF\r\n\x1a\n", advice=OTHER_PROGRAM),
    Format("a NumPy array", b"\x93NUMPY", advice=OTHER_PROGRAM),
    Format("a Git-LFS pointer", b"version https://git-lfs"),
    Format("a picture (PNG)", b"\x89PNG\r\n\x1a\n"),
    Format("a picture (JPEG)", b"\xff\xd8\xff"),
    Format("a picture (GIF)", b"GIF8"),
    Format("a picture (WebP)", b"WEBP", 8),
    Format("a picture or a video", b"ftyp", 4),
    Format("a PDF document", b"%PDF-"),
)
ONNX = re.compile(rb"\x08[\x02-\x20][\x12\x1a\x22\x2a\x32\x3a\x42\x72]")
"""Protobuf field 1 (the format version, a small number), followed by the tag of another field of the model."""
FROZEN_GRAPH = re.compile(rb"\x0a.{1,3}\x0a.[\w./-]+\x12.(Placeholder|Const)", re.DOTALL)
"""Start of a TensorFlow GraphDef: a node with a name and an operation."""


def refuse_other_formats(path: Path, head: bytes) -> None:
    """Raise an error that names the file's format, if it is a known one that torch cannot read weights from.

    Args:
        path: the file; named in the message, and opened if it is an archive.
        head: its first `HEAD` bytes.

    Raises:
        CorruptWeights: it is empty, a text, a web page or a picture: the download went wrong.
        UnsupportedWeights: it is an archive or another program's model.
        UnsafeWeights: it is a TorchScript program or in torch's oldest format.
    """
    if not head:
        raise CorruptWeights(f"{path} is empty. {download_again(path)}")
    if head.startswith(b"PK"):
        _refuse_zip(path)
    elif head[257:262] == b"ustar":
        _refuse_tar(path)
    else:
        found = _format(head)
        if found is not None:
            raise _refusal(path, found.name, found.advice)
        _refuse_text(path, head)


def download_again(path: Path) -> str:
    """Advice for a bad file. For a known name, includes size, sha256 and addresses of the right file."""
    size = f"It has {path.stat().st_size:,} bytes."
    known = find(path.name)
    if known is None:
        return f"{size} Download it again."
    addresses = " or ".join(known.urls)
    return (
        f"{size} The right file has {known.bytes:,} bytes and sha256 {known.sha256}. Delete this one and run again, or "
        f"get it from {addresses}"
    )


def _format(head: bytes) -> Format | None:
    if ONNX.match(head):
        return Format("an ONNX or Core ML model", b"", advice=OTHER_PROGRAM)
    if FROZEN_GRAPH.match(head):
        return Format("a TensorFlow graph", b"", advice=OTHER_PROGRAM)
    return next((f for f in FORMATS if head[f.at : f.at + len(f.begins)] == f.begins), None)


def _refusal(path: Path, name: str, advice: str | None) -> ApisrError:
    if advice is None:
        return CorruptWeights(f"{path} is {name}, not a model file. {download_again(path)}")
    if find(path.name) is not None:
        advice = f"{advice} {download_again(path)}"  # the right file has a known address
    return UnsupportedWeights(f"{path} is {name}, not PyTorch weights. {advice}")


def _refuse_text(path: Path, head: bytes) -> None:
    """Refuse text files, quoting their beginning: it may be a server's error message, saved instead of the file."""
    text = _decoded(head)
    if text is None:
        return
    text = text.strip()
    if text.lower().startswith(("<?xml", "<net")) and "<net" in text.lower():
        raise _refusal(path, "an OpenVINO model (.xml)", OTHER_PROGRAM)
    if text.lower().startswith(WEB_PAGE_STARTS):
        raise CorruptWeights(f"{path} is a web page, not a model: the download saved the page. {download_again(path)}")
    kind = next((name for name, begins in TEXT_KINDS.items() if begins.match(text)), "a text file")
    raise _refusal(path, f"{kind} ({' '.join(text.split())[:80]!a})", None)


def _decoded(head: bytes) -> str | None:
    """The bytes decoded as text, or None if they are not text. The last character may be incomplete."""
    for encoding in _encodings(head):
        try:
            text = codecs.getincrementaldecoder(encoding)().decode(head, final=len(head) < HEAD)
        except UnicodeDecodeError:
            continue
        text = text.removeprefix("\ufeff")
        if text.strip() and all(char.isprintable() or char in "\r\n\t\f\u3000" for char in text):
            return text
    return None


def _encodings(head: bytes) -> Iterator[str]:
    yield "utf-8"
    if head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        yield "utf-16"
    # UTF-16 without a byte order mark, starting in ASCII: every other byte is zero
    if not any(head[1:ENCODING_BYTES:2]):
        yield "utf-16-le"
    if not any(head[0:ENCODING_BYTES:2]):
        yield "utf-16-be"
    # binary data can also be valid in one of these by chance, but then has little ASCII
    is_ascii = [byte in ASCII_TEXT for byte in head]
    if all(is_ascii[:ENCODING_BYTES]) or 3 * sum(is_ascii) >= len(head):
        yield from ("gb18030", "shift_jis", "big5", "euc_kr", "cp1252", "latin-1")


def _refuse_zip(path: Path) -> None:
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except (zipfile.BadZipFile, OSError) as error:
        raise CorruptWeights(f"{path} is damaged or cut short. {download_again(path)}") from error
    if any(name.endswith("/constants.pkl") for name in names):
        raise UnsafeWeights(
            f"{path} is a TorchScript program, not weights; it was not run. Get the model as .safetensors or .pth."
        )
    folders = {name.partition("/")[0] for name in names}
    if any(f"{folder}/data.pkl" in names for folder in folders) and len(folders) == 1:
        return
    if any(name.rpartition("/")[2] == "data.pkl" for name in names):
        raise _refusal(
            path,
            "a PyTorch file that was unpacked and packed again",
            "torch cannot read it in this form. Get the original .pth file and do not unpack it.",
        )
    raise _refusal(path, "a zip archive", _unpack(names))


def _refuse_tar(path: Path) -> None:
    try:
        with tarfile.open(path, "r:") as archive:
            names = archive.getnames()
    except (tarfile.TarError, OSError):
        names = []
    if any(name.endswith(MODEL_SUFFIXES) for name in names):
        raise _refusal(path, "a tar archive", _unpack(names))
    # torch before 2.6 could run code from these in spite of `weights_only` (CVE-2025-32434)
    raise UnsafeWeights(f"{path} is in torch's oldest format, a tar file, which is not safe to read. Get another file.")


def _unpack(names: Iterable[str]) -> str:
    """Advice for an archive that holds files with these names."""
    files = [name for name in names if not name.endswith("/") and not name.startswith("__MACOSX/")]
    models = [name for name in files if name.lower().endswith(MODEL_SUFFIXES)]
    others = [name for name in files if name.lower().endswith(tuple(EXPORTS))]
    if others:
        models = [name for name in models if not name.lower().endswith(".bin")]  # weights of the other program's model
    if models:
        return f"Unpack it and put {_listed(models)} in its place."
    if others:
        kind = EXPORTS[Path(others[0]).suffix.lower()]
        return f"It holds {kind} ({_listed(others)}). {OTHER_PROGRAM}"
    if any(name.endswith(".npy") for name in files):
        return f"It holds NumPy arrays. {OTHER_PROGRAM}"
    return f"It holds no model that torch could read, but {_listed(files)}. Get the model as .pth or .safetensors."


def _listed(names: list[str]) -> str:
    if not names:
        return "nothing"
    more = f" or {len(names) - 3} more" if len(names) > 3 else ""
    return " or ".join(map(shown, names[:3])) + more
