"""Log of data set rows that cannot be used; too many of them end the run."""

import json
from collections.abc import Iterable, Iterator
from pathlib import Path

from utils.errors import UserError, printable
from utils.process import rank

LIMIT = 0.01  # largest share of bad rows
SHOWN = 3  # rows that are printed; the file has all


class BadRowLog:
    """Removes `bad_rows` (datasets/sampler.py) from batches and logs them.

    folder: for `bad_rows_rankR.jsonl`, one line {"set", "row", "why"} per row; None: rows are only printed.
    """

    def __init__(self, folder: Path | None):
        self.path = folder / f"bad_rows_rank{rank()}.jsonl" if folder else None
        self.known: set[tuple[str, int]] = set()

    def filter(self, batches: Iterable[dict], name: str, num_rows: int) -> Iterator[dict]:
        """Batches of a pass over the num_rows rows of the set `name`. UserError if more than 1 % of them are bad."""
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
            print(f"{name}: row left out: {printable(why)}", flush=True)
        if self.path:
            try:
                with self.path.open("a", encoding="utf-8") as file:
                    file.write(json.dumps({"set": name, "row": row, "why": why}) + "\n")
            except OSError as error:
                print(f"cannot write {self.path}: {error.strerror}", flush=True)
