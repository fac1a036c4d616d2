"""METRO's TSV layout: rows of `key <tab> value`, read by byte offset, and a small yaml file that names the files.

A set `NAME` is `NAME.yaml`, which names `NAME.img.tsv` (value: base64 of a JPEG), `NAME.label.tsv` (value: JSON),
`NAME.hw.tsv` (height and width; not read) and `NAME.linelist.tsv` (which rows, in which order; without it all rows). A
composite set lists several files of each kind, and each line of its linelist is `file <tab> row`. Every `X.tsv` has an
index `X.lineidx` with one byte offset per row. Layout of Lin et al., CVPR 2021 (METRO).
"""

from datasets.tsv.file import TSVFile
from datasets.tsv.index import build_offsets, load_offsets
from datasets.tsv.set import TSVSet, read_note
from datasets.tsv.writer import TSVWriter, write_composite

__all__ = ["TSVFile", "TSVSet", "TSVWriter", "build_offsets", "load_offsets", "read_note", "write_composite"]
