"""The demo: time to start, and photographs per second."""

import copy
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import torch

from models.inference.prepare import refine
from models.movenet import load_movenet
from models.predictor import Predictor, load_network, load_predictor
from scripts.lib.benchmark.published import published
from scripts.lib.benchmark.timing import Row, Settings, compare
from utils.demo.photo_results import PhotoResults
from utils.demo.placing import Placed
from utils.media.images import load_image
from utils.paths import MOVENET, ROOT, SAMPLES

PHOTO = SAMPLES / "im01.png"
STARTS = 3


def measure(settings: Settings) -> Iterator[Row]:
    with tempfile.TemporaryDirectory(prefix="benchmark_demo_") as folder:
        yield start_up(settings, Path(folder))
        fast = load_predictor(device=str(settings.device))
        plain = plain_predictor(fast)
        image = load_image(PHOTO)
        results = PhotoResults(fast.faces, fast.colors, fast.body.name)

        def draw():
            results.write(Path(folder), "photo", image, Placed(fast(image)), set())

        people = {"plain": plain, f"fast, {fast.precision}": fast}
        for case, work in (
            ("find the person", lambda predictor: predictor.find(image)),
            ("find and reconstruct", lambda predictor: predictor(image)),
        ):
            methods = {name: lambda work=work, own=own: work(own) for name, own in people.items()}
            yield from compare("demo", f"{case}, {PHOTO.name}", methods, 1, "photos/s", settings)
        case, methods = f"find, reconstruct and draw, {PHOTO.name}", {f"fast, {fast.precision}": draw}
        for row in compare("demo", case, methods, 1, "photos/s", settings):
            yield row._replace(ratio=None)  # without a plain method


def start_up(settings: Settings, folder: Path) -> Row:
    """Time of the whole command for one photograph, seconds."""
    flags = ["--img_path", PHOTO, "--output", folder, "--device", settings.device.type]
    seconds = []
    for _ in range(min(STARTS, settings.rounds)):
        started = time.perf_counter()
        subprocess.run([sys.executable, ROOT / "demo.py", *flags], check=True, capture_output=True, cwd=ROOT)
        seconds.append(time.perf_counter() - started)
    return Row("demo", "python demo.py, one photograph", "fast", min(seconds), "s", None, {"slowest": max(seconds)})


def plain_predictor(fast: Predictor) -> Predictor:
    """The same predictor with networks that are not prepared for inference."""
    plain = copy.copy(fast)
    chosen = {name: on for name, on in fast.refinements.items() if name != "rest_halves"}
    plain.predict = refine(OnDevice(published(load_network()).to(fast.device)), **chosen)
    plain.finder = load_movenet(MOVENET).to(fast.device)
    return plain


class OnDevice(torch.nn.Module):
    """A network that moves its input from the CPU to its device."""

    def __init__(self, network: torch.nn.Module):
        super().__init__()
        self.network, self.body_model, self.estimate = network, network.body_model, network.estimate

    def forward(self, image: torch.Tensor) -> dict:
        return self.network(image.to(self.network.keypoint_regressor.device))
