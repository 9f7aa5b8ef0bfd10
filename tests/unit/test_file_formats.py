"""Files in other formats under a model's name: each error names the format and says what helps."""

from __future__ import annotations

import bz2
import gzip
import io
import json
import lzma
import struct
import tarfile
import zipfile
from pathlib import Path

import pytest
import torch
from apisr_pack.apisr_archs import ApisrError, CorruptWeights, MissingWeights, UnsupportedWeights
from apisr_pack.apisr_archs.files import zoo
from apisr_pack.apisr_archs.files.checkpoint import read_state_dict
from apisr_pack.tests.reference import save

WEIGHTS = {"conv.weight": torch.rand(8, 8), "conv.bias": torch.rand(8)}


def pth() -> bytes:
    buffer = io.BytesIO()
    torch.save({"params": WEIGHTS}, buffer)
    return buffer.getvalue()


def refusal(content: bytes, path: Path) -> str:
    path.write_bytes(content)
    with pytest.raises(ApisrError) as caught:
        read_state_dict(path)
    message = str(caught.value)
    assert message.startswith(str(path))
    assert "damaged" not in message
    assert isinstance(caught.value, CorruptWeights) == ("Download it again" in message)
    assert isinstance(caught.value, (CorruptWeights, UnsupportedWeights))
    return message


@pytest.mark.parametrize(
    ("content", "name"),
    [
        (b"7z\xbc\xaf\x27\x1c\x00\x04" + bytes(300), "a 7z archive"),
        (b"Rar!\x1a\x07\x01\x00" + bytes(300), "a RAR archive"),
        (b"Rar!\x1a\x07\x00" + bytes(300), "a RAR archive"),
        (gzip.compress(pth()), "a gzip archive"),
        (lzma.compress(pth()), "an xz archive"),
        (bz2.compress(pth()), "a bzip2 archive"),
        (b"\x28\xb5\x2f\xfd" + bytes(300), "a Zstandard archive"),
    ],
)
def test_archives_are_to_be_unpacked(content: bytes, name: str, tmp_path: Path) -> None:
    message = refusal(content, tmp_path / "a.pth")
    assert name in message
    assert "Unpack it" in message


@pytest.mark.parametrize(
    ("content", "name"),
    [
        (struct.pack("<I", 0x01306B47) + bytes(range(200)), "NCNN"),
        (struct.pack("<I", 0x000D4B38) + bytes(range(200)), "NCNN"),
        (struct.pack("<I", 0x0002C056) + bytes(range(200)), "NCNN"),
        (b"7767517\n38 38\nInput data 0 1 data\n", "NCNN"),
        (struct.pack("<I", 7767517) + bytes(range(200)), "NCNN"),
        (b"\x08\x07\x12\x07pytorch\x1a\x051.13:" + bytes(range(200)), "ONNX"),
        (b"\x08\x0a:" + bytes(range(200)), "ONNX"),
        (b"GGUF\x03\x00\x00\x00" + bytes(300), "GGUF"),
        (b"ftrt\x00\x00\x00\x00" + bytes(300), "TensorRT"),
        (b"\x1c\x00\x00\x00TFL3" + bytes(300), "TensorFlow Lite"),
        (b"\x08\x01\x12\xa0\x10\n" + bytes(300), "TensorFlow"),
        (b"\n\x1d\n\x05input\x12\x0bPlaceholder*\x0b\n\x05dtype\x12\x020\x01" + bytes(300), "TensorFlow"),
        (b"\x89HDF\r\n\x1a\n" + bytes(300), "HDF5"),
        (b'<?xml version="1.0"?>\n<net name="main_graph" version="11">\n', "OpenVINO"),
        (b"\x93NUMPY\x01\x00" + bytes(300), "NumPy"),
    ],
)
def test_models_of_other_programs(content: bytes, name: str, tmp_path: Path) -> None:
    message = refusal(content, tmp_path / "a.safetensors")
    assert name in message
    assert "Get the same model as .pth or .safetensors" in message


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"[InternetShortcut]\r\nURL=https://a.b/c\r\n", "a shortcut to a web page.*InternetShortcut"),
        (b"[DEFAULT]\r\nURL=https://a.b/c\r\n", "a text file.*DEFAULT"),
        ('{"message": "文件不存在"}'.encode("gbk"), "a JSON text.*message"),
        ("<p>エラー: ファイルが見つかりません</p>".encode("shift_jis"), "a text file"),
        ('{"error": "not found"}'.encode("utf-16"), "a JSON text.*not found"),
        ('{"error": "not found"}'.encode("utf-16-be"), "a JSON text.*not found"),
        (('{"error": "' + "未找到" * 300 + '"}').encode("utf-16"), "a JSON text"),
        (b'{"error":"Invalid username or password."}', "JSON text.*Invalid username or password"),
        (b'\xef\xbb\xbf \n[ {"a": 1} ]', "JSON text"),
        (b'{"long}{{": "' + b"\xc3\xa9" * 600, "JSON text"),
        (b"# 4x_foo\n\nA model for *anime*.\n", "text file.*4x_foo"),
        ("モデル".encode() * 200, "text file"),
        (b"\x89PNG\r\n\x1a\n" + bytes(300), "picture.*PNG"),
        (b"\xff\xd8\xff\xe0" + bytes(300), "picture.*JPEG"),
        (b"RIFF\x10\0\0\0WEBPVP8 " + bytes(300), "picture.*WebP"),
        (b"%PDF-1.7\n" + bytes(300), "PDF"),
    ],
)
def test_what_a_server_gave_instead(content: bytes, words: str, tmp_path: Path) -> None:
    message = refusal(content, tmp_path / "a.pth")
    assert message.isprintable()
    with pytest.raises(CorruptWeights, match=rf"(?s){words}.*not a model file.*Download it again"):
        read_state_dict(tmp_path / "a.pth")


@pytest.mark.parametrize("encoding", ["gbk", "utf-16", "utf-16-le", "utf-8-sig"])
def test_web_pages_in_other_encodings(encoding: str, tmp_path: Path) -> None:
    path = tmp_path / "a.pth"
    path.write_bytes(f"<!DOCTYPE html><html><title>{'页面不存在' * 90}</title>".encode(encoding))
    with pytest.raises(CorruptWeights, match="is a web page"):
        read_state_dict(path)


@pytest.mark.parametrize(
    "content", [b"\xff" * 3000, bytes(range(0xA0, 0xC0)) * 100, b"\xff\xfe" * 900, b" " * 900, b"\xfe\xff" + bytes(900)]
)
def test_numbers_are_not_called_text(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "a.pth").write_bytes(content)
    with pytest.raises(CorruptWeights, match="damaged, cut short or no model file"):
        read_state_dict(tmp_path / "a.pth")


def archive(path: Path, members: dict[str, bytes]) -> bytes:
    with zipfile.ZipFile(path, "w") as zipped:
        for name, content in members.items():
            zipped.writestr(name, content)
    return path.read_bytes()


@pytest.mark.parametrize(
    ("members", "words"),
    [
        (
            {"4x_foo/": b"", "4x_foo/4x_foo.pth": pth(), "4x_foo/readme.txt": b"hi"},
            ["Unpack it", " 4x_foo/4x_foo.pth "],
        ),
        ({"a.safetensors": b"", "b.PTH": b""}, ["Unpack it", "a.safetensors or b.PTH"]),
        ({"__MACOSX/._a.pth": b"", "a.pth": b""}, ["put a.pth in"]),
        ({f"{i}.pth": b"" for i in range(9)}, ["0.pth or 1.pth or 2.pth or 6 more"]),
        ({"x.param": b"", "x.bin": b""}, ["an NCNN model (x.param)", "for other programs"]),
        ({"x/x.xml": b"", "x/x.bin": b""}, ["an OpenVINO model (x/x.xml)", "for other programs"]),
        ({"x.onnx": b"", "y.bin": b""}, ["an ONNX model (x.onnx)", "for other programs"]),
        ({"x.param": b"", "x.bin": b"", "x.pth": b""}, ["put x.pth in"]),
        ({"pytorch_model.bin": b"", "config.json": b""}, ["put pytorch_model.bin in"]),
        ({"a\x1b[31m.txt": b""}, ["a\\x1b[31m.txt"]),
        ({"arr_0.npy": b""}, ["NumPy"]),
        ({"config.json": b"", "model.weights.h5": b""}, ["no model that torch could read", "model.weights.h5"]),
        ({}, ["holds no model", "nothing"]),
    ],
)
def test_zip_archives_say_which_file_to_unpack(members: dict[str, bytes], words: list[str], tmp_path: Path) -> None:
    message = refusal(archive(tmp_path / "a.zip", members), tmp_path / "a.pth")
    assert "a zip archive" in message
    assert all(part in message for part in words)


def test_tar_archives_say_which_file_to_unpack(tmp_path: Path) -> None:
    model = save(WEIGHTS, tmp_path / "model.pth")
    with tarfile.open(tmp_path / "a.tar", "w") as tarred:
        tarred.add(model, "4x/model.pth")
    message = refusal((tmp_path / "a.tar").read_bytes(), tmp_path / "a.pth")
    assert "a tar archive" in message
    assert "put 4x/model.pth in" in message


def repacked(rename: str, compression: int, path: Path) -> Path:
    """A PyTorch file, repacked with `rename` applied to the names below its folder."""
    with zipfile.ZipFile(io.BytesIO(pth())) as old, zipfile.ZipFile(path, "w", compression) as new:
        for name in old.namelist():
            new.writestr(rename + name.partition("/")[2], old.read(name))
    return path


@pytest.mark.parametrize("compression", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_a_torch_file_is_one_whatever_its_folder_is_called(compression: int, tmp_path: Path) -> None:
    """Compressed ones cannot be memory-mapped: their bytes must be unpacked first."""
    found = read_state_dict(repacked("another name/", compression, tmp_path / "a.pth"))
    assert all(torch.equal(found[name], WEIGHTS[name]) for name in WEIGHTS)


@pytest.mark.parametrize("rename", ["", "outer/inner/"])
def test_a_torch_file_that_lost_its_folder(rename: str, tmp_path: Path) -> None:
    message = refusal(repacked(rename, zipfile.ZIP_STORED, tmp_path / "b.pth").read_bytes(), tmp_path / "a.pth")
    assert "unpacked and packed again" in message
    assert "Get the original .pth" in message


def test_a_torch_file_that_was_packed_with_something_else(tmp_path: Path) -> None:
    path = repacked("archive/", zipfile.ZIP_STORED, tmp_path / "b.pth")
    with zipfile.ZipFile(path, "a") as zipped:
        zipped.writestr("__MACOSX/._archive", b"")
    assert "unpacked and packed again" in refusal(path.read_bytes(), tmp_path / "a.pth")


def test_an_archive_under_a_known_name_says_where_the_right_file_is(tmp_path: Path) -> None:
    path = tmp_path / "4x_APISR_GRL_GAN_generator.pth"
    message = refusal(archive(tmp_path / "a.zip", {"x.pth": b""}), path)
    known = zoo.find(path.name)
    assert "put x.pth in" in message
    assert known.urls[0] in message
    assert known.sha256 in message


def test_a_header_that_could_be_text_is_still_a_header(tmp_path: Path) -> None:
    path = save(WEIGHTS, tmp_path / "a.safetensors")
    length = int.from_bytes(path.read_bytes()[:8], "little")
    content = path.read_bytes()
    header = json.loads(content[8 : 8 + length])
    header["__metadata__"] = {"note": "odd"}
    text = json.dumps(header).encode().ljust(0x208, b" ")
    path.write_bytes(len(text).to_bytes(8, "little") + text + content[8 + length :])
    assert read_state_dict(path).keys() == WEIGHTS.keys()


def test_a_broken_link_is_called_one(tmp_path: Path) -> None:
    link = tmp_path / "a.pth"
    link.symlink_to(tmp_path / "drive" / "b.pth")
    with pytest.raises(MissingWeights, match=r"a\.pth is a link to .*drive.b\.pth, which is not there"):
        read_state_dict(link)
    through = tmp_path / "c.pth"
    through.symlink_to(link)
    with pytest.raises(MissingWeights, match=r"c\.pth is a link to .*drive.b\.pth, which is not there"):
        read_state_dict(through)


def test_a_link_to_itself(tmp_path: Path) -> None:
    link = tmp_path / "a.pth"
    link.symlink_to(link)
    with pytest.raises(MissingWeights, match="link"):
        read_state_dict(link)


def test_a_good_link(tmp_path: Path) -> None:
    save(WEIGHTS, tmp_path / "b.pth")
    (tmp_path / "a.pth").symlink_to(tmp_path / "b.pth")
    assert read_state_dict(tmp_path / "a.pth").keys() == WEIGHTS.keys()


def test_a_folder(tmp_path: Path) -> None:
    with pytest.raises(MissingWeights, match="is a folder"):
        read_state_dict(tmp_path)
