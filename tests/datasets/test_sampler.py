"""Bad rows are skipped, counted and reported; too many of them end the run."""

import json
import sys

import pytest
import torch

from datasets.build import build_loader
from datasets.human_mesh import HumanMeshDataset
from datasets.sampler import RowNumber, SkipBadRows, collate
from scripts import check_dataset
from tests.helpers import hostile
from utils.errors import RowError, UserError
from utils.train.bad_row_log import BadRowLog


class Rows(torch.utils.data.Dataset):
    """Row i has index i; the rows in `bad` cannot be read."""

    def __init__(self, size, bad):
        self.size, self.bad = size, bad

    def __len__(self):
        return self.size

    def __getitem__(self, index):
        if index in self.bad:
            raise RowError(f"a.tsv row {index}: cut short; make it again")
        return {"index": int(index), "epoch": index.epoch if isinstance(index, RowNumber) else 0}


@pytest.mark.parametrize("num_workers", [0, 1])
def test_training_replaces_and_evaluation_leaves_out(num_workers):
    rows = Rows(200, {3, 4, 199})
    loader = build_loader(rows, batch_size=10, num_workers=num_workers, train=True, skip_bad_rows=True)
    loader.sampler.set_epoch(7)
    batches = list(loader)
    assert [len(batch["index"]) for batch in batches] == [10] * 20
    drawn = sorted(i for batch in batches for i in batch["index"].tolist())
    assert drawn == sorted([*({*range(200)} - {3, 4, 199}), 5, 5, 0])
    assert all((batch["epoch"] == 7).all() for batch in batches)
    reported = sorted(row for batch in batches for row, _ in batch.get("bad_rows", ()))
    assert reported == [3, 4, 4, 199]

    loader = build_loader(rows, batch_size=2, num_workers=num_workers, train=False, skip_bad_rows=True)
    batches = list(loader)
    assert [i for batch in batches if "index" in batch for i in batch["index"].tolist()] == [
        i for i in range(200) if i not in rows.bad
    ]
    assert sum(len(batch.get("bad_rows", ())) for batch in batches) == 3


def test_a_set_of_bad_rows_is_an_error():
    with pytest.raises(RowError, match=r"rows in succession are bad, the first: a\.tsv row 0"):
        SkipBadRows(Rows(50, set(range(50))), replace=True)[0]
    batch = collate([SkipBadRows(Rows(2, {0, 1}), replace=False)[i] for i in range(2)])
    assert batch.keys() == {"bad_rows"}


def test_the_report_names_rows_and_ends_the_run_over_one_percent(tmp_path, capsys):
    report = BadRowLog(tmp_path)
    batches = [{"index": 1, "bad_rows": [(5, "cut short")]}, {"bad_rows": [(6, "no base64")]}, {"index": 2}]
    kept = list(report.filter([dict(batch) for batch in batches], "the training set", 200))
    assert kept == [{"index": 1}, {"index": 2}]
    lines = [json.loads(line) for line in (tmp_path / "bad_rows_rank0.jsonl").read_text().splitlines()]
    assert lines == [
        {"set": "the training set", "row": 5, "why": "cut short"},
        {"set": "the training set", "row": 6, "why": "no base64"},
    ]
    assert "2 of 200 rows could not be used" in capsys.readouterr().out
    with pytest.raises(UserError, match=r"2 of 199 rows cannot be used, more than 1%: no base64"):
        list(report.filter([dict(batch) for batch in batches], "the training set", 199))
    assert len((tmp_path / "bad_rows_rank0.jsonl").read_text().splitlines()) == 2  # each once


def test_check_dataset_finds_every_kind(tmp_path, monkeypatch, capsys):
    yaml_file = hostile.make_set(tmp_path, size=8)
    images, labels = (yaml_file.with_name(f"a.{kind}.tsv") for kind in ("img", "label"))
    rows = images.read_bytes().splitlines()
    rows[1] = rows[1][:100] + b"?" + rows[1][101:]
    rows[2] = rows[2][: len(rows[2]) // 8 * 4 + len(b"person_2\t") % 4]
    rows[3] = b"person_3"
    images.write_bytes(b"\n".join(rows) + b"\n")
    texts = labels.read_text().splitlines()
    texts[4] = texts[4].replace("0.1", "NaN", 1)
    texts[5] = texts[5].replace('"betas": [1.0, ', '"betas": [')
    texts[6] = texts[6].replace('"center"', '"middle"')
    labels.write_text("\n".join(texts) + "\n")
    monkeypatch.setattr(
        sys, "argv", ["check", str(yaml_file), "--num_workers=1", f"--report={tmp_path / 'report.jsonl'}"]
    )
    with pytest.raises(SystemExit) as end:
        check_dataset.main()
    captured = capsys.readouterr()
    assert end.value.code == 2 and "over 1% of the rows" in captured.err and "8/8" in captured.err
    assert "8 rows, 6 of them cannot be used (75.00%)" in captured.out
    faults = [json.loads(line) for line in (tmp_path / "report.jsonl").read_text().splitlines()]
    assert [fault["row"] for fault in faults] == [1, 2, 3, 4, 5, 6]
    assert all(f"row {fault['row']}" in fault["why"] for fault in faults)
    good = HumanMeshDataset(yaml_file)
    assert [good[i]["image_id"] for i in (0, 7)] == ["person_0", "person_7"]

    monkeypatch.setattr(sys, "argv", ["check", str(hostile.make_set(tmp_path / "good")), "--num_workers=0"])
    check_dataset.main()
    assert "1 rows, 0 of them cannot be used" in capsys.readouterr().out
