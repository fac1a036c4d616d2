"""Complete answer sets of a folder, and what they contain: descriptions and ratings."""

import hashlib
import json
from pathlib import Path

import numpy as np

from scripts.lib.joint_prior.answers import Answer, descriptions_and_ratings, find_sets, read_answers
from scripts.lib.joint_prior.tasks import Task, make_tasks
from utils.errors import UserError
from utils.skeleton import SMPL_JOINTS

MIN_SETS = 3


def read_sets(folder: Path) -> dict[Path, list[Answer]]:
    """All answer sets of a folder, by path. UserError if fewer than MIN_SETS are there or one is incomplete."""
    tasks = make_tasks()
    sets = {path: read_answers(path, tasks) for path in find_sets(folder)}
    for path, answers in sets.items():
        if len(answers) < len(tasks):
            raise UserError(f"{path} answers {len(answers)} of {len(tasks)} tasks; complete it with: ask")
    if len(sets) < MIN_SETS:
        raise UserError(f"{folder} holds {len(sets)} answer sets, at least {MIN_SETS} are needed; make them with: ask")
    return sets


def parse_sets(sets: dict[Path, list[Answer]], tasks: list[Task]) -> tuple[list[list[str]], np.ndarray]:
    """-> descriptions, K lists of 24 texts; ratings (K, R, 24, 24), nan on the diagonal."""
    parsed = [descriptions_and_ratings(answers, tasks) for answers in sets.values()]
    return [[texts[joint] for joint in SMPL_JOINTS] for texts, _ in parsed], np.stack(
        [ratings for _, ratings in parsed]
    )


def texts_hash(descriptions: list[list[str]]) -> str:
    """SHA-256 of the descriptions of all sets. It ties the embeddings to the descriptions they were made from."""
    return hashlib.sha256(json.dumps(descriptions).encode()).hexdigest()
