"""Feed damaged files to every reader: python tests/fuzz.py --count 100000 --seed 0 [KIND...]

Good files are cut, flipped, spliced and overwritten at random places. A reader may take a file or raise UserError;
anything else, over 5 seconds, or more memory than a few times the file's size ends the run with the input kept.
"""

import argparse
import base64
import json
import random
import resource
import signal
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from safetensors.torch import save_file

from datasets.human_mesh import HumanMeshDataset, decode_image
from models.body_model import load_body_model
from tests.helpers import hostile
from utils.checkpoint import load_checkpoint
from utils.errors import UserError

ROOM = 1 << 30  # bytes
SECONDS = 5
INTERESTING = (
    b"\0",
    b"\xff",
    b"\t",
    b"\n",
    b"[",
    b"{",
    b"-1",
    b"1e999",
    b"NaN",
    b"99999999999999999999",
    b"../",
    b"&a",
    b"*a",
)


@dataclass
class Result:
    inputs: int = 0
    refused: int = 0


def mutate(data: bytes, chance: random.Random) -> bytes:
    """A few random damages."""
    data = bytearray(data)
    for _ in range(chance.choice((1, 1, 2, 5))):
        place, length = chance.randrange(len(data) + 1), chance.choice((1, 2, 4, 8, 64))
        match chance.randrange(6):
            case 0:
                del data[place : place + length]
            case 1:
                data[place:place] = chance.choice(INTERESTING)
            case 2:
                data[place : place + length] = chance.randbytes(length)
            case 3:
                data[place:place] = data[(start := chance.randrange(len(data) + 1)) : start + length]
            case 4 if place < len(data):
                data[place] ^= 1 << chance.randrange(8)
            case 5 if chance.random() < 0.2:
                del data[place:]
    return bytes(data)


def _read_set(yaml_file: Path):
    rows = HumanMeshDataset(yaml_file)
    for i in range(min(len(rows), 2)):
        rows[i]


def prepare(kind: str, folder: Path):
    """One good file of a kind -> (the file to damage, how to read it)."""
    torch.manual_seed(0)
    model = {
        "model": {"a": torch.randn(3, 4), "b": torch.arange(5)},
        "config": {"graph": "static", "graph_entries": ["bias", "conv"], "num_transformers": 3, "hrnet_type": None},
    }
    if kind == "checkpoint":
        torch.save(model, folder / "a.pt")
        return folder / "a.pt", load_checkpoint
    if kind == "safetensors":
        save_file(model["model"], folder / "a.safetensors", {"config": json.dumps(model["config"])})
        return folder / "a.safetensors", load_checkpoint
    if kind in ("npz", "pkl"):
        n = 30
        body = {
            "v_template": np.zeros((n, 3)), "shapedirs": np.zeros((n, 3, 10)), "posedirs": np.zeros((n, 3, 207)),
            "J_regressor": np.full((24, n), 1 / n), "weights": np.full((n, 24), 1 / 24),
            "kintree_table": np.zeros((2, 24)), "f": np.zeros((5, 3), int),
        }  # fmt: skip
        if kind == "npz":
            np.savez(folder / "a.npz", **body)
        else:
            import pickle

            (folder / "a.pkl").write_bytes(pickle.dumps(body, 2))
        return folder / f"a.{kind}", load_body_model
    yaml_file = hostile.make_set(folder, size=2)
    if kind == "image":
        encoded = base64.b64decode(yaml_file.with_name("a.img.tsv").read_bytes().split()[1])
        (folder / "a.jpg").write_bytes(encoded)
        return folder / "a.jpg", lambda path: decode_image(path.read_bytes(), str(path))
    _read_set(yaml_file)  # maps the indices
    name = {"yaml": "a.yaml", "images": "a.img.tsv", "labels": "a.label.tsv", "index": "a.img.lineidx"}
    name = (name | {"map": "a.img.lineidx.bin"})[kind]
    return yaml_file.with_name(name), lambda _: _read_set(yaml_file)


KINDS = ("checkpoint", "safetensors", "npz", "pkl", "image", "yaml", "images", "labels", "index", "map")


def run(kind: str, folder: Path, count: int, seed: int) -> Result:
    """Feed `count` damaged files of a kind to its reader."""
    path, read = prepare(kind, folder)
    good, result, chance = path.read_bytes(), Result(), random.Random(f"{kind} {seed}")
    read(path) if kind not in ("npz", "pkl") else None  # those are no bodies, but all of the file is read
    index = path.with_suffix(".lineidx") if kind in ("images", "labels") else None
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    size = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (size + ROOM, hard))
    try:
        for _ in range(count):
            path.write_bytes(mutate(good, chance))
            if index:
                index.unlink(missing_ok=True)
            signal.alarm(SECONDS)
            try:
                read(path)
            except UserError as error:
                assert "\n" not in str(error), error
                result.refused += 1
            signal.alarm(0)
            result.inputs += 1
    finally:
        signal.alarm(0)
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))
    return result


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("kinds", nargs="*", default=KINDS, metavar="KIND", help=", ".join(KINDS))
    parser.add_argument("--count", type=int, default=100_000, help="inputs in total")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    for kind in args.kinds:
        with tempfile.TemporaryDirectory(prefix=f"fuzz_{kind}_") as folder:
            started = time.perf_counter()
            result = run(kind, Path(folder), -(-args.count // len(args.kinds)), args.seed)
            seconds = time.perf_counter() - started
            print(f"{kind:<12}{result.inputs:7d} inputs, {result.refused:7d} refused, {seconds:6.1f} s", flush=True)


if __name__ == "__main__":
    main()
