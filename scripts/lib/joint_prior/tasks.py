"""The prompts for the language model, and the strict parser of its answers.

A task is one prompt: describe one joint, or rate one relation between one joint and every later one. The texts are in
meta_data/joint_prior/prompts_v1. A changed text needs a new version, because an answer belongs to one prompt text.
"""

import hashlib
import json
import re
from dataclasses import dataclass
from pathlib import Path
from string import Template

from utils.errors import UserError
from utils.paths import META_DATA
from utils.skeleton import SMPL_JOINTS

PROMPTS = META_DATA / "joint_prior" / "prompts_v1"
RELATIONS = ("kinematic_coupling", "left_right_symmetry", "co_movement", "balance")
DESCRIPTION = "description"

MAX_RATING = 10
MAX_REASON_WORDS = 20  # the prompt allows 8
DESCRIPTION_WORDS = (25, 150)  # the prompt wants 50 to 90
CODE_FENCE = re.compile(r"```(?:json)?\s*(.*?)\s*```", re.DOTALL)


class AnswerError(ValueError):
    """An answer that does not have the form of its task; the message gives the reason."""


@dataclass(frozen=True)
class Task:
    """One prompt. topic: DESCRIPTION or one of RELATIONS; others: the joints to rate, none for a description."""

    topic: str
    joint: str
    others: tuple[str, ...]
    system: str
    prompt: str

    @property
    def name(self) -> str:
        return f"{self.topic}/{self.joint}"

    @property
    def prompt_hash(self) -> str:
        """First 16 hex digits of the SHA-256 of system text and prompt."""
        return hashlib.sha256(f"{self.system}\n{self.prompt}".encode()).hexdigest()[:16]


def make_tasks(folder: Path = PROMPTS) -> list[Task]:
    """All 24 + 4 x 23 tasks from the prompt texts in `folder`, always in the same order."""
    names = ("system", "rating", DESCRIPTION, *RELATIONS)
    try:
        texts = {name: (folder / f"{name}.txt").read_text(encoding="utf-8").strip() for name in names}
    except OSError as error:
        raise UserError(f"prompt text {error.filename} cannot be read; restore {folder}") from error
    tasks = []
    for joint in SMPL_JOINTS:
        prompt = Template(texts[DESCRIPTION]).substitute(task=f"{DESCRIPTION}/{joint}", joint=joint)
        tasks.append(Task(DESCRIPTION, joint, (), texts["system"], prompt))
    for relation in RELATIONS:
        for i, joint in enumerate(SMPL_JOINTS[:-1]):
            others = SMPL_JOINTS[i + 1 :]
            prompt = Template(texts["rating"]).substitute(
                relation=texts[relation],
                task=f"{relation}/{joint}",
                joint=joint,
                count=len(others),
                others=", ".join(others),
                form=f'"{others[0]}": [RATING, "REASON"]' + (", ..." if len(others) > 1 else ""),
            )
            tasks.append(Task(relation, joint, others, texts["system"], prompt))
    return tasks


def answer_schema(task: Task) -> dict:
    """JSON schema of the answer to `task`, for endpoints that can restrict an answer to a schema."""
    if task.others:
        rating = {"enum": list(range(MAX_RATING + 1))}
        pair = {"type": "array", "prefixItems": [rating, _text_schema(3, 60)]}
        content = _object_schema({other: pair | {"minItems": 2, "maxItems": 2} for other in task.others})
        return _object_schema({"task": {"const": task.name}, "ratings": content})
    return _object_schema({"task": {"const": task.name}, DESCRIPTION: _text_schema(200, 700)})


def _text_schema(shortest: int, longest: int) -> dict:
    # a pattern, because some servers accept line breaks in a plain string
    return {"type": "string", "pattern": f"^[A-Za-z0-9 ,.;:()'-]{{{shortest},{longest}}}$"}


def _object_schema(properties: dict) -> dict:
    keys = list(properties)
    return {"type": "object", "properties": properties, "required": keys, "additionalProperties": False}


def parse_answer(task: Task, text: str) -> str | dict[str, int]:
    """The model's text -> the description, or the rating of each of task.others. AnswerError for anything else.

    One JSON object with exactly the requested keys. A code fence around it is accepted, because models often write one.
    """
    fenced = CODE_FENCE.fullmatch(text.strip())
    try:
        answer = json.loads(fenced[1] if fenced else text, object_pairs_hook=_unique_keys)
    except (ValueError, RecursionError) as error:
        raise AnswerError(f"not one JSON object: {error}") from error
    content = "ratings" if task.others else DESCRIPTION
    _require_keys(answer, ("task", content), "the answer")
    if answer["task"] != task.name:
        raise AnswerError(f"answers task {answer['task']!r}, not {task.name!r}")
    if not task.others:
        return _description(answer[content])
    _require_keys(answer[content], task.others, "ratings")
    return {other: _rating(other, answer[content][other]) for other in task.others}


def _unique_keys(pairs: list[tuple[str, object]]) -> dict:
    if len(dict(pairs)) < len(pairs):
        raise AnswerError("a key appears twice")
    return dict(pairs)


def _require_keys(value: object, keys: tuple[str, ...], what: str):
    if not isinstance(value, dict):
        raise AnswerError(f"{what} must be a JSON object")
    missing, extra = [key for key in keys if key not in value], [key for key in value if key not in keys]
    if missing or extra:
        raise AnswerError(f"{what}: missing {missing}, unknown {extra}")


def _description(value: object) -> str:
    shortest, longest = DESCRIPTION_WORDS
    if not isinstance(value, str) or not shortest <= len(value.split()) <= longest:
        raise AnswerError(f"the description must be a text of {shortest} to {longest} words")
    return value


def _rating(joint: str, value: object) -> int:
    match value:
        # True and False are of type int in Python
        case [int(rating), str(reason)] if not isinstance(rating, bool) and 0 <= rating <= MAX_RATING:
            if not 1 <= len(reason.split()) <= MAX_REASON_WORDS or "\n" in reason:
                raise AnswerError(f"{joint}: the reason must be one line of 1 to {MAX_REASON_WORDS} words")
            return rating
    raise AnswerError(f"{joint}: expected [whole number from 0 to {MAX_RATING}, reason], got {str(value)[:60]}")
