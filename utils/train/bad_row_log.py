"""Rows of a data set that could not be read: counted, named, and too many of them end the run."""

import json
from collections.abc import Iterable, Iterator
from pathlib import Path

from utils.errors import UserError
from utils.process import rank

LIMIT = 0.01  # share of bad rows that a run bears
SHOWN = 3


class RowReport:
    """Takes `bad_rows` (datasets/sampler.py) out of batches on their way to the network.

    folder: where `bad_rows_rankR.jsonl` appears, a line {"set", "row", "why"} for each; None: they are printed alone.
    """

    def __init__(self, folder: Path | None):
        self.path = folder / f"bad_rows_rank{rank()}.jsonl" if folder else None
        self.known: set[tuple[str, int]] = set()

    def take(self, batches: Iterable[dict], name: str, num_rows: int) -> Iterator[dict]:
        """The batches of a pass over num_rows rows of the set `name`. UserError when over 1 % of them are bad."""
        count = 0
        for batch in batches:
            for row, why in batch.pop("bad_rows", ()):
                count += 1
                self._note(name, row, why)
                if count > LIMIT * num_rows:
                    place = f"; the bad rows are listed in {self.path}" if self.path else ""
                    raise UserError(
                        f"{name}: {count} of {num_rows} rows cannot be used, more than {LIMIT:.0%}: {why}{place}; "
                        "python scripts/check_dataset.py finds all"
                    )
            if batch:
                yield batch
        if count:
            print(f"{name}: {count} of {num_rows} rows could not be used{f', see {self.path}' if self.path else ''}")

    def _note(self, name: str, row: int, why: str):
        if (name, row) in self.known:
            return
        self.known.add((name, row))
        if len(self.known) <= SHOWN or not self.path:
            print(f"{name}: row left out: {why}", flush=True)
        if self.path:
            try:
                with self.path.open("a", encoding="utf-8") as file:
                    file.write(json.dumps({"set": name, "row": row, "why": why}) + "\n")
            except OSError as error:
                print(f"cannot write {self.path}: {error.strerror}", flush=True)
