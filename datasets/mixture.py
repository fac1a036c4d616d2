"""Several data sets as one, with a weight each."""

import copy

import numpy as np
from torch.utils.data import Dataset

from datasets.sampler import RowNumber


class Mixture(Dataset):
    """The rows of several sets, each as often in an epoch as its weight says.

    With weight 2 every row occurs twice, with another augmentation each time. With 1.5 every row occurs once and half
    of the rows once more, others in each epoch. With 0.1 a tenth of the rows occurs. Which rows these are, and their
    augmentation, depends on seed, epoch and row number alone: so on neither processes nor a resumed run.

    sets: data sets with a `seed`, such as `HumanMeshDataset`. `index` of a row counts over all rows of the mixture.
    """

    def __init__(self, sets: list[Dataset], weights: list[float], seed: int = 0):
        self.seed = seed
        self.copies, self.lengths, self.numbers = [], [], []
        for number, (dataset, weight) in enumerate(zip(sets, weights, strict=True)):
            size = max(round(weight * len(dataset)), 1)
            for repeat, start in enumerate(range(0, size, len(dataset))):
                twin = copy.copy(dataset)
                if number or repeat:  # the first one is as it is without a mixture
                    twin.seed = int(np.random.SeedSequence((seed, number, repeat)).generate_state(1)[0])
                self.copies.append(twin)
                self.lengths.append(min(len(dataset), size - start))
                self.numbers.append((number, repeat))
        self.starts = np.cumsum([0, *self.lengths])
        self._drawn: dict[int, tuple[int, np.ndarray]] = {}  # copy -> epoch and its rows

    def __len__(self) -> int:
        return int(self.starts[-1])

    def __getitem__(self, index: int) -> dict:
        which, row = self.locate(index)
        epoch = getattr(index, "epoch", 0)
        return self.copies[which][RowNumber(row, epoch)] | {"index": int(index)}

    def locate(self, index: int) -> tuple[int, int]:
        """Row of the mixture -> number of the copy, row in it."""
        if not 0 <= index < len(self):
            raise IndexError(f"row {index} of {len(self)}")
        which = int(np.searchsorted(self.starts, index, side="right")) - 1
        row = int(index - self.starts[which])
        if self.lengths[which] < len(self.copies[which]):
            row = int(self._rows(which, getattr(index, "epoch", 0))[row])
        return which, row

    def _rows(self, which: int, epoch: int) -> np.ndarray:
        """The rows of a copy that occur only in part, in an epoch."""
        if self._drawn.get(which, (None,))[0] != epoch:
            random = np.random.default_rng((self.seed, epoch, *self.numbers[which]))
            self._drawn[which] = epoch, random.permutation(len(self.copies[which]))[: self.lengths[which]]
        return self._drawn[which][1]
