"""Which rows a process loads, in which order, and how damaged rows are replaced or left out."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from torch.utils.data import Dataset, Sampler, default_collate

from utils.errors import RowError

TRIES = 20


class Shard(NamedTuple):
    """The share of process `rank` of `world_size` processes; seed: of the order of the rows."""

    seed: int = 0
    rank: int = 0
    world_size: int = 1


WHOLE = Shard()


class RowNumber(int):
    """A row number with its epoch: a data set draws the augmentation of `dataset[i]` from both.

    Persistent workers have a copy of the data set from before the first epoch, so that the epoch is sent with every row
    number. For other data sets it is an ordinary int.
    """

    epoch: int

    def __new__(cls, row: int, epoch: int = 0) -> "RowNumber":
        number = super().__new__(cls, row)
        number.epoch = epoch
        return number


class ShuffledRows(Sampler):
    """This process's share of a random order of all rows; shares have the same length in all processes."""

    def __init__(self, num_rows: int, batch_size: int, shard: Shard = WHOLE):
        self.num_rows, self.batch_size, self.shard = num_rows, batch_size, shard
        self.epoch, self.first_row = 0, 0
        # no process may run out of batches before the others: leave out the remainder of a large set, repeat rows of a
        # set that is smaller than one batch per process
        self.num_samples = num_rows // shard.world_size
        if self.num_samples < batch_size:
            self.num_samples = -(-num_rows // shard.world_size)

    def set_epoch(self, epoch: int, first_batch: int = 0) -> None:
        """Choose the order of the next pass and its first batch; a resumed run skips the batches before it."""
        self.epoch, self.first_row = epoch, first_batch * self.batch_size

    def __len__(self) -> int:
        return self.num_samples

    def __iter__(self) -> Iterator[RowNumber]:
        seed, rank, world_size = self.shard
        order = np.random.default_rng((seed, self.epoch)).permutation(self.num_rows)
        order = np.resize(order, self.num_samples * world_size)  # cuts off, or repeats from the start
        return (RowNumber(row, self.epoch) for row in order[rank::world_size][self.first_row :].tolist())


class SkipBadRows(Dataset):
    """The rows of a data set, without those that raise RowError.

    replace: the next good row takes the place of a bad one, so that all processes have equally many full batches
    (training); otherwise the row is left out (evaluation). `bad_rows` of a row is a list of (index, message); workers
    send it with the row to the process that reports it. RowError if TRIES rows in succession are bad.
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
            raise RowError(f"{TRIES} rows in succession are bad, the first: {bad_rows[0][1]}")
        return {"bad_rows": bad_rows}


def collate(rows: list[dict]) -> dict:
    """Rows -> a batch without the rows that were left out, and with the `bad_rows` of all rows if there are any.

    If all rows were left out, `bad_rows` is the only key.
    """
    if not isinstance(rows[0], dict):
        return default_collate(rows)
    bad_rows = [bad for row in rows for bad in row.get("bad_rows", ())]
    if not bad_rows:
        return default_collate(rows)
    rows = [{key: value for key, value in row.items() if key != "bad_rows"} for row in rows]
    rows = [row for row in rows if row]
    return (default_collate(rows) if rows else {}) | {"bad_rows": bad_rows}
