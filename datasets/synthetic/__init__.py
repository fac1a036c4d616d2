"""Synthetic people with exact labels, rendered on a CPU."""

from datasets.synthetic.dataset import OCCLUDED, SPLITS, SyntheticDataset
from utils.paths import ASSETS

__all__ = ["ASSETS", "OCCLUDED", "SPLITS", "SyntheticDataset"]
