"""One damaged row among a hundred thousand must not end a run, nor go unnoticed."""

from torch.utils.data import Dataset, default_collate

from utils.errors import RowError

TRIES = 20


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
