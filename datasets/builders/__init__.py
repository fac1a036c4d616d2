"""Builders: data sets from their owners' releases into METRO's TSV layout.

A reader (datasets/builders/readers/, one per release format) turns entries of a release into `PersonRecord`s. The core
does the rest: it poses the body, checks the labels against it, writes the rows and reports on them.

    read -> PersonRecord -> complete (pose the body, compare) -> TSV row -> report and contact sheet
"""

from datasets.builders.bodies import Bodies, Body
from datasets.builders.build import BuildOptions, build_set
from datasets.builders.record import BadEntry, Dropped, PersonRecord, Reader, Unit

__all__ = ["BadEntry", "Bodies", "Body", "BuildOptions", "Dropped", "PersonRecord", "Reader", "Unit", "build_set"]
