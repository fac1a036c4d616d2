"""Feed damaged files to every reader: python tests/fuzz.py --count 100000 --seed 0 [KIND...]

Good files are cut, flipped, spliced and overwritten at random places. A reader may take a file or raise UserError.
Anything else ends a kind: another exception, a crash, over 5 seconds of processor time, or much more memory than such
a file needs. The folder with the input is kept and named, and the other kinds go on. Exit code 1 if any kind failed.
"""

import argparse
import base64
import json
import multiprocessing
import os
import random
import resource
import shutil
import signal
import sys
import tempfile
import time
import unicodedata
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from PIL import Image
from safetensors.torch import save_file

from datasets.human_mesh import HumanMeshDataset, decode_image
from models.body_model import load_body_model
from tests.helpers import hostile
from tests.helpers.films import make_film
from utils.checkpoint import load_checkpoint
from utils.demo.boxes import read_boxes
from utils.errors import UserError, printable
from utils.media.film import open_film
from utils.media.find import find_media, is_film, name_results
from utils.media.images import load_image
from utils.media.video import VideoFile
from utils.media.video_writer import write_video

ROOM, FILM_ROOM = 1 << 30, 4 << 30  # bytes; a film may have frames of 36 million pixels
SECONDS, WALL_SECONDS = 5, 120  # of the processor; by the clock, for a reader that waits
FILMS = {"mp4": "libx264", "mkv": "mpeg4", "webm": "libvpx-vp9", "gif": None, "webp": None}  # name -> codec
SOUND = {"mp4": "aac", "mkv": "pcm_s16le", "webm": "libopus"}
MAX_FRAMES, MAX_COPIED = 20, 500_000  # frames read; pixels of a frame that is written again
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


def _read_configuration(path: Path, tensors: dict):
    """A damaged configuration inside a whole checkpoint."""
    checkpoint = path.with_suffix(".safetensors")
    save_file(tensors, checkpoint, {"config": path.read_bytes().decode("utf-8", "replace")})
    load_checkpoint(checkpoint)


def _read_paths(path: Path):
    """Names of inputs, as the command line gives them; results of all of them get names that can be printed."""
    names = [os.fsdecode(line) for line in path.read_bytes().splitlines() if line and b"\0" not in line]
    names = [str(path.parent / name.lstrip("/").replace("..", "")) for name in names]
    for name in name_results(find_media(names)):
        assert not {unicodedata.category(letter) for letter in printable(name)} & {"Cc", "Cs", "Zl", "Zp"}


def _read_film(path: Path):
    """A film as the demo reads it and writes it again with its sound; if it is none, a photograph."""
    if not is_film(path):
        load_image(path)
        return
    film = open_film(path)
    frames = list(islice(film.frames(), MAX_FRAMES))
    times = [frame.time for frame in frames]
    assert frames and np.isfinite(times).all() and (np.diff(times) > 0).all() and 0 < film.info.rate < 1e6
    assert all(frame.image.dtype == np.uint8 and frame.image.shape == (*film.info[2:], 3) for frame in frames)
    if film.info.height * film.info.width <= MAX_COPIED:
        copy = path.with_name("copy.mp4")
        with write_video(copy, film.info.rate, film if isinstance(film, VideoFile) else None) as add:
            for frame in frames:
                add(*frame)
        assert VideoFile(copy).info.frames == len(frames)


def _make_film(kind: str, folder: Path) -> Path:
    """Ten frames of a moving square, with sound if the kind has any."""
    images = np.full((10, 48, 64, 3), 90, np.uint8)
    for t, image in enumerate(images):
        image[10:30, 4 * t : 4 * t + 20] = 255 - 20 * t, 30 * t % 256, 128
    path = folder / f"a.{kind}"
    if FILMS[kind]:
        return make_film(path, list(images), [t / 10 for t in range(10)], FILMS[kind], sound=SOUND[kind])
    first, *others = map(Image.fromarray, images)
    first.save(path, save_all=True, append_images=others, duration=100, loop=0)
    return path


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
    if kind == "configuration":
        (folder / "a.json").write_text(json.dumps(model["config"] | {"body": "a", "num_vertices": 30, "prior_seed": 0}))
        return folder / "a.json", lambda path: _read_configuration(path, model["model"])
    if kind in ("boxes_json", "boxes_csv"):
        boxes = {"a.png": [[1, 2, 30, 40], [5.5, 6, 7, 8]], "b c.jpg": [[0, 0, 1e3, 2e3]]}
        path = folder / f"a.{kind.removeprefix('boxes_')}"
        rows = [f"{name},{','.join(map(str, box))}\n" for name, several in boxes.items() for box in several]
        path.write_text(json.dumps(boxes) if kind == "boxes_json" else "name,x,y,w,h\n" + "".join(rows))
        return path, read_boxes
    if kind == "paths":
        for name in ("photos/im01.png", "photos/b.jpg", "a/b/c.mp4"):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).touch()
        (folder / "a.txt").write_text("photos/im01.png\nphotos/*.jpg\n[a-c]/**/*.mp4\ncaf\u00e9 \U0001f9cd/x-2.gif\n")
        return folder / "a.txt", lambda path: _read_paths(path)
    if kind in FILMS:
        return _make_film(kind, folder), _read_film
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
KINDS += ("configuration", "boxes_json", "boxes_csv", "paths", *FILMS)


def run(kind: str, folder: Path, count: int, seed: int) -> Result:
    """Feed `count` damaged files of a kind to its reader. After an error, the folder holds the input."""
    path, read = prepare(kind, folder)
    good, result, chance = path.read_bytes(), Result(), random.Random(f"{kind} {seed}")
    read(path) if kind not in ("npz", "pkl") else None  # those are no bodies, but all of the file is read
    index = path.with_suffix(".lineidx") if kind in ("images", "labels") else None
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    size = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (size + (FILM_ROOM if kind in FILMS else ROOM), hard))
    try:
        for _ in range(count):
            path.write_bytes(mutate(good, chance))
            if index:
                index.unlink(missing_ok=True)
            _limit_time(SECONDS, WALL_SECONDS)
            try:
                read(path)
            except UserError as error:
                assert "\n" not in str(error), error
                result.refused += 1
            _limit_time(0, 0)
            result.inputs += 1
    finally:
        _limit_time(0, 0)
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))
    return result


def _limit_time(processor: float, wall: float):
    """Signals that end this process after so many seconds; 0: none."""
    signal.setitimer(signal.ITIMER_PROF, processor)
    signal.setitimer(signal.ITIMER_REAL, wall)


def _run_and_report(kind: str, folder: Path, count: int, seed: int):
    report = folder.with_name(f"{folder.name}.json")
    report.write_text(json.dumps(asdict(run(kind, folder, count, seed))))


def run_apart(kind: str, folder: Path, count: int, seed: int) -> Result | str:
    """`run` in a process of its own, which may crash -> its result, or how it ended."""
    process = multiprocessing.get_context("fork").Process(target=_run_and_report, args=(kind, folder, count, seed))
    process.start()
    process.join()
    report = folder.with_name(f"{folder.name}.json")
    if process.exitcode == 0:
        return Result(**json.loads(report.read_text()))
    return signal.Signals(-process.exitcode).name if process.exitcode < 0 else "an exception, see above"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("kinds", nargs="*", default=KINDS, metavar="KIND", help=", ".join(KINDS))
    parser.add_argument("--count", type=int, default=100_000, help="inputs in total")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    failed, totals = False, Result()
    started = time.perf_counter()
    for kind in args.kinds:
        root = Path(tempfile.mkdtemp(prefix=f"fuzz_{kind}_"))
        folder = root / "input"
        folder.mkdir()
        before = time.perf_counter()
        result = run_apart(kind, folder, -(-args.count // len(args.kinds)), args.seed)
        seconds = time.perf_counter() - before
        if isinstance(result, str):
            failed = True
            print(f"{kind:<14}ended by {result} after {seconds:.1f} s; the input is kept in {folder}", flush=True)
            continue
        shutil.rmtree(root)
        totals = Result(totals.inputs + result.inputs, totals.refused + result.refused)
        print(f"{kind:<14}{result.inputs:7d} inputs, {result.refused:7d} refused, {seconds:6.1f} s", flush=True)
    seconds = time.perf_counter() - started
    print(f"{'all':<14}{totals.inputs:7d} inputs, {totals.refused:7d} refused, {seconds:6.1f} s", flush=True)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
