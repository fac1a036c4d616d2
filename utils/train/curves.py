"""Writers of a run's curves: TensorBoard, a CSV file, or Weights & Biases, with the methods of a SummaryWriter."""

import csv
import importlib.util
import io
from pathlib import Path

import numpy as np

from utils.errors import UserError
from utils.files import write_text


def check_logger(kind: str):
    """UserError if a logger needs a package that is not installed."""
    if kind == "wandb" and importlib.util.find_spec("wandb") is None:
        raise UserError("--logger wandb needs the package wandb: pip install wandb, or use tensorboard or csv")


def open_curves(kind: str, folder: Path, purge_step: int | None, purge_epoch: int | None = None):
    """A writer into the run's folder.

    purge_step: points from this step on, of an earlier start, are dropped; purge_epoch: those of validation, whose
    steps are epochs.
    """
    if kind == "csv":
        return CsvCurves(folder / "curves.csv", purge_step, purge_epoch)
    if kind == "wandb":
        return WandbCurves(folder)
    from torch.utils.tensorboard import SummaryWriter  # takes a third of a second

    return SummaryWriter(str(folder / "tensorboard"), purge_step=purge_step)


class CsvCurves:
    """Rows `name,step,value`; pictures are left out."""

    def __init__(self, path: Path, purge_step: int | None, purge_epoch: int | None = None):
        kept = []
        if path.is_file():
            with path.open(newline="", encoding="utf-8") as file:
                rows = [row for row in csv.reader(file) if len(row) == 3 and row[1].isdecimal()]
            limits = {True: purge_epoch, False: purge_step}
            for row in rows:
                limit = limits[row[0].startswith("val/")]
                if limit is None or int(row[1]) < limit:
                    kept.append(row)
        text = io.StringIO(newline="")
        csv.writer(text).writerows([("name", "step", "value"), *kept])
        write_text(path, text.getvalue())  # whole or not at all; what follows is appended
        self.file = path.open("a", newline="", encoding="utf-8")
        self.writer = csv.writer(self.file)

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
