"""Answer sets on disk: one JSON line per task with the model's text verbatim, complete and checked when read.

A set is one file, `set1.jsonl`; unreadable answers are kept beside it in `set1.rejected.jsonl`, so that
their share is known. Both files are rewritten atomically after every answer, so that a run can stop at any time.
"""

import json
import re
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from scripts.lib.joint_prior.tasks import DESCRIPTION, RELATIONS, AnswerError, Task, parse_answer
from utils.errors import UserError
from utils.files import write_text
from utils.skeleton import SMPL_JOINTS

TASK_NAME = re.compile(r'"task"\s*:\s*"([^"]*)"')


@dataclass(frozen=True)
class Answer:
    """A verbatim answer of a model to a task. error: why it is unreadable; empty if it is readable."""

    task: str
    model: str
    date: str
    prompt_sha256: str
    answer: str
    error: str = ""


def collect(
    path: Path, tasks: list[Task], model: str, date: str, ask: Callable[[Task], str | None], attempts: int = 1
) -> list[str]:
    """Call `ask` for every task without an answer in `path`, at most `attempts` times until the answer is readable.

    ask(task) -> the model's text, or None to leave the task open. Returns the names of the tasks still open.
    """
    answers = {answer.task: answer for answer in read_answers(path, tasks)}
    other_models = {answer.model for answer in answers.values()} - {model}
    if other_models:
        raise UserError(f"{path} holds answers of {', '.join(other_models)}; choose another --set for {model}")
    rejected_path = rejected_file(path)
    rejected = _read_lines(rejected_path)
    path.parent.mkdir(parents=True, exist_ok=True)
    for task in tasks:
        for _ in range(attempts if task.name not in answers else 0):
            text = ask(task)
            if text is None:
                break
            try:
                parse_answer(task, text)
            except AnswerError as error:
                rejected.append(Answer(task.name, model, date, task.prompt_hash, text, str(error)))
                _write_lines(rejected_path, rejected)
                print(f"{path.stem} {task.name}: {error}", flush=True)
                continue
            answers[task.name] = Answer(task.name, model, date, task.prompt_hash, text)
            _write_lines(path, [answers[other.name] for other in tasks if other.name in answers])
            print(f"{path.stem} {len(answers)}/{len(tasks)} {task.name}", flush=True)
            break
    return [task.name for task in tasks if task.name not in answers]


def read_imported(path: Path) -> dict[str, str]:
    """A file with one verbatim answer of a chat session per line -> {task name: line}."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"cannot read answers from {path}: {error}; give a UTF-8 text, one answer a line") from error
    answers = {}
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        name = TASK_NAME.search(line)
        if name is None or name[1] in answers:
            problem = "names no task" if name is None else f"answers {name[1]} a second time"
            raise UserError(f"{path}, line {number} {problem}; write one answer per task, each on its own line")
        answers[name[1]] = line
    return answers


def read_answers(path: Path, tasks: list[Task]) -> list[Answer]:
    """The answers in `path`, none if there is no such file. UserError for one that does not fit its task."""
    by_name = {task.name: task for task in tasks}
    answers = _read_lines(path)
    for number, answer in enumerate(answers, 1):
        task = by_name.get(answer.task)
        if task is None or answer.prompt_sha256 != task.prompt_hash:
            raise UserError(
                f"{path}, line {number}: answers a prompt of another version; restore the prompts or run ask again"
            )
        try:
            parse_answer(task, answer.answer)
        except AnswerError as error:
            raise UserError(
                f"{path}, line {number} ({task.name}): {error}; restore the file or run ask again"
            ) from error
    if len({answer.task for answer in answers}) < len(answers):
        raise UserError(f"{path} answers a task twice; restore the file or run ask again")
    return answers


def find_sets(folder: Path) -> list[Path]:
    """The answer sets in `folder`, in order of their names."""
    return sorted(path for path in folder.glob("set*.jsonl") if not path.name.endswith(".rejected.jsonl"))


def rejected_file(path: Path) -> Path:
    return path.with_suffix(".rejected.jsonl")


def count_rejected(path: Path) -> int:
    """Number of unreadable answers of the set at `path`."""
    return len(_read_lines(rejected_file(path)))


def descriptions_and_ratings(answers: list[Answer], tasks: list[Task]) -> tuple[dict[str, str], np.ndarray]:
    """-> {joint: description}, ratings (R, 24, 24): symmetric, nan on the diagonal and without an answer."""
    by_name = {answer.task: answer.answer for answer in answers}
    descriptions = {}
    ratings = np.full((len(RELATIONS), len(SMPL_JOINTS), len(SMPL_JOINTS)), np.nan)
    for task in tasks:
        if task.name not in by_name:
            continue
        parsed = parse_answer(task, by_name[task.name])
        if task.topic == DESCRIPTION:
            descriptions[task.joint] = parsed
            continue
        i, relation = SMPL_JOINTS.index(task.joint), RELATIONS.index(task.topic)
        for other, rating in parsed.items():
            j = SMPL_JOINTS.index(other)
            ratings[relation, i, j] = ratings[relation, j, i] = rating
    return descriptions, ratings


def _read_lines(path: Path) -> list[Answer]:
    if not path.exists():
        return []
    try:
        return [Answer(**json.loads(line)) for line in path.read_text(encoding="utf-8").splitlines()]
    except (OSError, ValueError, TypeError) as error:
        raise UserError(f"cannot read answers from {path}: {error}; restore the file or run ask again") from error


def _write_lines(path: Path, answers: list[Answer]):
    records = ({key: value for key, value in asdict(answer).items() if value or key != "error"} for answer in answers)
    write_text(path, "".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records))
