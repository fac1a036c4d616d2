"""Files that mean harm, and those that are merely broken: made here, never kept in the repository."""

import base64
import io
import json
import os
import pickle
import struct
import tarfile
import zipfile
import zlib
from pathlib import Path

import cv2
import numpy as np
import torch

from datasets.human_mesh import format_label
from datasets.tsv import TSVWriter

GIGABYTE = 1 << 30
BOMB = 1 << 25  # bytes, for a reader that is told to bear less


class Call:
    """A pickle of this calls function(*arguments) where it is loaded without care."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


def touch(folder: Path) -> Call:
    """A command that leaves a file called `ran`."""
    return Call(os.system, f"touch {folder / 'ran'}")


def png_header(width: int, height: int) -> bytes:
    """A PNG that claims a size and has no pixels."""
    body = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + body + struct.pack(">I", zlib.crc32(body))


def rewrite_zip(path: Path, member: str, change, compression: int = zipfile.ZIP_STORED) -> Path:
    """Change the content of the members whose name ends so, in place."""
    with zipfile.ZipFile(path) as source:
        contents = {name: source.read(name) for name in source.namelist()}
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, content in contents.items():
            archive.writestr(name, change(content) if name.endswith(member) else content)
    return path


def make_checkpoints(folder: Path) -> list[Path]:
    def save(name: str, value) -> Path:
        torch.save(value, folder / name)
        return folder / name

    model = {"model": {"a": torch.zeros(4)}, "config": {}}
    paths = [
        save("command.pt", {"model": touch(folder)}),
        save("bytes.pt", {**model, "x": Call(bytearray, 40 * GIGABYTE)}),
        save("tensor.pt", {**model, "x": Call(torch.Tensor, 40, 1024, 1024, 256)}),
        rewrite_zip(save("beyond.pt", model), "data.pkl", lambda data: data.replace(b"K\x04tq", b"J\0\0\0\x40tq")),
        rewrite_zip(save("bomb.pt", model), "data/0", lambda _: bytes(GIGABYTE // 4), zipfile.ZIP_DEFLATED),
    ]
    header = folder / "header.safetensors"
    header.write_bytes(struct.pack("<Q", 1 << 60) + b"{}")
    outside = folder / "outside.safetensors"
    table = json.dumps({"a": {"dtype": "F32", "shape": [1 << 40], "data_offsets": [0, 1 << 42]}}).encode()
    outside.write_bytes(struct.pack("<Q", len(table)) + table)
    deep = folder / "deep.safetensors"
    table = json.dumps({"__metadata__": {"config": "[" * 100_000}}).encode()
    deep.write_bytes(struct.pack("<Q", len(table)) + table)
    return [*paths, header, outside, deep]


def make_bodies(folder: Path) -> list[Path]:
    (folder / "command.pkl").write_bytes(pickle.dumps({"v_template": touch(folder)}))
    (folder / "eval.pkl").write_bytes(b"cbuiltins\neval\n(S'40**40**40'\ntR.")
    (folder / "memo.pkl").write_bytes(b"\x80\x04Nr\xff\xff\xff\x7f.")
    (folder / "long.pkl").write_bytes(b"\x80\x04\x8d" + struct.pack("<Q", 1 << 60) + b"a.")
    np.savez(folder / "objects.npz", v_template=np.array([touch(folder)], dtype=object))
    with zipfile.ZipFile(folder / "claims.npz", "w") as archive:
        file = io.BytesIO()
        np.lib.format.write_array_header_1_0(file, {"descr": "<f8", "fortran_order": False, "shape": (40 * GIGABYTE,)})
        archive.writestr("v_template.npy", file.getvalue())
    np.savez_compressed(folder / "bomb.npz", v_template=np.zeros(BOMB, np.uint8))
    return [path for path in folder.iterdir() if path.suffix in (".pkl", ".npz")]


def make_set(folder: Path, size: int = 1) -> Path:
    """A small good set, to be spoilt -> its yaml."""
    _, jpeg = cv2.imencode(".jpg", np.random.default_rng(0).integers(0, 256, (40, 30, 3), dtype=np.uint8))
    label = format_label((15, 20), 0.2, pose=np.full(72, 0.1), betas=np.ones(10), keypoints_2d=np.ones((24, 3)))
    with TSVWriter(folder / "set" / "a.yaml") as writer:
        for i in range(size):
            writer.add(f"person_{i}", jpeg.tobytes(), label, 40, 30)
    return folder / "set" / "a.yaml"


def spoil_set(folder: Path, kind: str) -> Path:
    """A set that means harm, by kind -> its yaml. What is wrong is met when it is opened, or at its only row."""
    yaml_file = make_set(folder)
    images, labels = (yaml_file.with_name(f"a.{name}.tsv") for name in ("img", "label"))
    values = {
        "giant png": (images, b"a\t" + base64.b64encode(png_header(100_000, 100_000))),
        "large png": (images, b"a\t" + base64.b64encode(png_header(20_000, 20_000))),
        "other format": (images, b"a\t" + base64.b64encode(b"II*\0" + bytes(100))),
        "json depth": (labels, b"a\t" + b'{"a":' * 200_000),
        "json number": (labels, b"a\t" + b"9" * 1_000_000),
        "huge number": (labels, labels.read_bytes().replace(b'"scale": 0.2', b'"scale": 1e300')),
        "long list": (labels, labels.read_bytes().replace(b'"betas": [', b'"betas": [' + b"0," * 1_000_000)),
    }
    texts = {
        "yaml tag": "img: !!python/object/apply:os.system ['touch ran']\nlabel: a.label.tsv\n",
        "yaml depth": "img: " + "[" * 20_000,
        "yaml laughs": "a0: &a0 x\n"
        + "".join(f"a{i + 1}: &a{i + 1} [*a{i}, *a{i}]\n" for i in range(60))
        + "img: *a60\n",
        "yaml size": "img: a.img.tsv\n#" + "x" * 2_000_000,
        "yaml path": "img: ../../../../../../../etc/passwd\nlabel: a.label.tsv\n",
        "yaml absolute path": "img: a.img.tsv\nlabel: /etc/passwd\n",
        "yaml linelist": "img: a.img.tsv\nlabel: a.label.tsv\nlinelist: /etc/passwd\n",
    }
    if kind in values:
        path, value = values[kind]
        path.write_bytes(value)
    elif kind == "list of files":
        (yaml_file.parent / "files").write_text("/etc/passwd\n")
        yaml_file.write_text("img: files\nlabel: a.label.tsv\n")
    elif kind == "index":
        images.with_suffix(".lineidx").write_text("-5\n99999999999999\n")
        yaml_file.with_name("a.linelist.tsv").write_text("4000000000\n")
    else:
        yaml_file.write_text(texts[kind])
    return yaml_file


SETS = (
    "giant png", "large png", "other format", "json depth", "json number", "huge number", "long list", "yaml tag",
    "yaml depth", "yaml laughs", "yaml size", "yaml path", "yaml absolute path", "yaml linelist",
    "list of files", "index",
)  # fmt: skip


def make_archives(folder: Path) -> list[Path]:
    """Tar files that reach out of the folder they are unpacked in, or would place a link or a device there."""

    def entry(name: str, kind: bytes = tarfile.REGTYPE, link: str = "") -> tarfile.TarInfo:
        info = tarfile.TarInfo(name)
        info.type, info.linkname = kind, link
        return info

    entries = {
        "up.tar": entry("3dpw/../../escaped"),
        "absolute.tar": entry(f"{folder}/escaped"),
        "symlink.tar": entry("3dpw/link", tarfile.SYMTYPE, "/etc"),
        "hardlink.tar": entry("3dpw/link", tarfile.LNKTYPE, "/etc/passwd"),
        "device.tar": entry("3dpw/device", tarfile.CHRTYPE),
        "pipe.tar": entry("3dpw/pipe", tarfile.FIFOTYPE),
    }
    for name, info in entries.items():
        with tarfile.open(folder / name, "w") as archive:
            archive.addfile(info)
    return [folder / name for name in entries]
