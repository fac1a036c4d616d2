"""The Python API: demo.py exports it, and inference does not import slow libraries that it does not use."""

import subprocess
import sys

import demo
from models import predictor
from utils.paths import ROOT, SAMPLES

# timm, roma and torchvision each import PyTorch's compiler, which takes more than a second
HEAVY = ("torch._dynamo", "timm", "roma", "torchvision", "matplotlib")


def test_demo_exports_the_python_api():
    for name in ("Predictor", "load_network", "load_predictor"):
        assert getattr(demo, name) is getattr(predictor, name)


def test_inference_does_not_import_the_compiler():
    code = (
        "import sys, demo\n"
        "predictor = demo.load_predictor(device='cpu', precision='fp32')\n"
        f"(person,) = predictor({str(SAMPLES / 'im01.png')!r}, bbox=(170, 84, 252, 420))\n"
        "person.record()\n"
        f"print([name for name in {HEAVY} if name in sys.modules])"
    )
    found = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"
