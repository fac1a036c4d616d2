"""Which rows a process draws, in which order, and what happens when one is damaged."""

from collections.abc import Iterator

import numpy as np
from torch.utils.data import Dataset, Sampler, default_collate

from utils.errors import RowError

TRIES = 20


class RowNumber(int):
    """A row number that knows its epoch: `dataset[i]` draws its augmentation from both, in whatever worker it runs.

    Workers that live through all epochs hold a copy of the data set as it was at their start, so that the epoch has to
    travel with the request. Data sets that do not care see an ordinary int.
    """

    epoch: int

    def __new__(cls, row: int, epoch: int = 0):
        number = super().__new__(cls, row)
        number.epoch = epoch
        return number


class ShuffledRows(Sampler):
    """This process's share of a random order of all rows, the same length in every process."""

    def __init__(self, num_rows: int, batch_size: int, seed: int = 0, rank: int = 0, world_size: int = 1):
        self.num_rows, self.seed, self.rank, self.world_size = num_rows, seed, rank, world_size
        self.batch_size, self.epoch, self.first_row = batch_size, 0, 0
        # leave out the odd rows of a large set, repeat some of a small one: never wait for a process without a batch
        self.num_samples = num_rows // world_size
        if self.num_samples < batch_size:
            self.num_samples = -(-num_rows // world_size)

    def set_epoch(self, epoch: int, first_batch: int = 0):
        """Choose the order of the next pass, and where to begin in it: what a run goes on with had been used before."""
        self.epoch, self.first_row = epoch, first_batch * self.batch_size

    def __len__(self) -> int:
        return self.num_samples

    def __iter__(self) -> Iterator[RowNumber]:
        order = np.random.default_rng((self.seed, self.epoch)).permutation(self.num_rows)
        order = np.resize(order, self.num_samples * self.world_size)  # cuts off or starts over
        return (RowNumber(row, self.epoch) for row in order[self.rank :: self.world_size][self.first_row :].tolist())


class SkipBadRows(Dataset):
    """The rows of a data set; where one raises RowError, the next good one (replace) or none takes its place.

    Training replaces, so that all processes keep equally many full batches; evaluation leaves out. What was wrong comes
    along as the row's `bad_rows`, a list of (index, message), so that it reaches the process that reports it.
    """

    def __init__(self, dataset: Dataset, replace: bool):
        self.dataset, self.replace = dataset, replace

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int) -> dict:
        bad_rows = []
        for attempt in range(min(TRIES, len(self)) if self.replace else 1):
            candidate = index if attempt == 0 else type(index)((index + attempt) % len(self))
            if hasattr(index, "epoch"):
                candidate.epoch = index.epoch
            try:
                row = self.dataset[candidate]
                return row | {"bad_rows": bad_rows} if bad_rows else row
            except RowError as error:
                bad_rows.append((int(candidate), str(error)))
        if self.replace:
            raise RowError(f"{TRIES} rows in a row are bad, the first: {bad_rows[0][1]}")
        return {"bad_rows": bad_rows}


def collate(rows: list[dict]) -> dict:
    """Rows -> a batch, without those that were left out; `bad_rows` of all of them, if there are any.

    A batch of which nothing is left has no other key.
    """
    if not isinstance(rows[0], dict):
        return default_collate(rows)
    bad_rows = [bad for row in rows for bad in row.get("bad_rows", ())]
    if not bad_rows:
        return default_collate(rows)
    rows = [{key: value for key, value in row.items() if key != "bad_rows"} for row in rows]
    rows = [row for row in rows if row]
    return (default_collate(rows) if rows else {}) | {"bad_rows": bad_rows}
