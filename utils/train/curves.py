"""Writers of a run's curves: TensorBoard, a CSV file, or Weights & Biases, with the methods of a SummaryWriter."""

import csv
import importlib.util
from pathlib import Path

import numpy as np

from utils.errors import UserError


def check_logger(kind: str):
    """UserError if a logger needs a package that is not installed."""
    if kind == "wandb" and importlib.util.find_spec("wandb") is None:
        raise UserError("--logger wandb needs the package wandb: pip install wandb, or use tensorboard or csv")


def open_curves(kind: str, folder: Path, purge_step: int | None):
    """A writer into the run's folder. purge_step: points from this step on, of an earlier start, are dropped."""
    if kind == "csv":
        return CsvCurves(folder / "curves.csv", purge_step)
    if kind == "wandb":
        return WandbCurves(folder)
    from torch.utils.tensorboard import SummaryWriter  # takes a third of a second

    return SummaryWriter(str(folder / "tensorboard"), purge_step=purge_step)


class CsvCurves:
    """Rows `name,step,value`; pictures are left out."""

    def __init__(self, path: Path, purge_step: int | None):
        kept = []
        if path.is_file():
            with path.open(newline="", encoding="utf-8") as file:
                rows = [row for row in csv.reader(file) if len(row) == 3 and row[1].isdecimal()]
            kept = [row for row in rows if purge_step is None or int(row[1]) < purge_step]
        self.file = path.open("w", newline="", encoding="utf-8")
        self.writer = csv.writer(self.file)
        self.writer.writerows([("name", "step", "value"), *kept])

    def add_scalar(self, name: str, value: float, step: int):
        self.writer.writerow((name, step, value))

    def add_image(self, name: str, image: np.ndarray, step: int, dataformats: str = "HWC"):
        pass

    def flush(self):
        self.file.flush()

    def close(self):
        self.file.close()


class WandbCurves:
    """A run of Weights & Biases with the name of the folder; `step` is a column, because epochs are steps too."""

    def __init__(self, folder: Path):
        import wandb

        self.wandb = wandb
        self.run = wandb.init(project="SMPL-Pose", name=folder.name, id=folder.name, dir=str(folder), resume="allow")

    def add_scalar(self, name: str, value: float, step: int):
        self.run.log({name: value, "step": step})

    def add_image(self, name: str, image: np.ndarray, step: int, dataformats: str = "HWC"):
        self.run.log({name: self.wandb.Image(image), "step": step})

    def flush(self):
        pass

    def close(self):
        self.run.finish()
