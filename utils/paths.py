"""Where the repository keeps its files."""

from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
META_DATA = ROOT / "meta_data"
PRETRAINED = ROOT / "pretrained"
SAMPLES = ROOT / "samples"
ASSETS = ROOT / "assets"  # filled by scripts/fetch_synthetic_assets.sh
OPEN_BODY = META_DATA / "open_body.npz"
MOVENET = PRETRAINED / "movenet_thunder.safetensors"
MOVENET_STATISTICS = PRETRAINED / "movenet_features.safetensors"
DEFAULT_CHECKPOINT = PRETRAINED / "smpl_pose_s.safetensors"
