"""The joint prior: relations among the 24 joints rated by a language model, and the controls of the ablation.

The prior is a small fixed file made by scripts/build_joint_prior.py. Training and inference need numpy alone to read
it, no language model and no connection. Every array is invariant under the left-right flip that training uses.
"""

import hashlib
import json
import zipfile
import zlib
from dataclasses import dataclass, fields, replace
from pathlib import Path

import numpy as np

from models.joint_graph import tree_distances
from utils.errors import UserError
from utils.files import atomic_path
from utils.network_config import JOINT_PRIORS
from utils.paths import META_DATA
from utils.safe_load.limits import check_arrays
from utils.skeleton import NUM_JOINTS, SMPL_FLIP

JOINT_PRIOR = META_DATA / "joint_prior.npz"
BUILD_COMMAND = "python scripts/build_joint_prior.py build"

EMBEDDING_DIM = 384  # of all-MiniLM-L6-v2, the encoder of the descriptions; the controls have the same
FLIP = np.array(SMPL_FLIP)
OFF_DIAGONAL = ~np.eye(NUM_JOINTS, dtype=bool)
TREE_REACH = (1, 2, 4, 8)  # bones: decay lengths of the kernels of the kinematic control
TOLERANCE = 1e-4


@dataclass(frozen=True)
class JointPrior:
    """Joints in the order of SMPL_JOINTS. All arrays float32, unit scale, unchanged by the left-right flip.

    embedding: (24, D) text vectors of the descriptions; mean over the joints 0, root mean square 1.
    text: (24, 24) similarity of the descriptions; relations: (R, 24, 24) rated relations, named by relation_names.
    These matrices are symmetric with a zero diagonal; their entries off the diagonal have mean 0 and variance 1.
    """

    embedding: np.ndarray
    text: np.ndarray
    relations: np.ndarray
    relation_names: tuple[str, ...]


def load_joint_prior(kind: str, path: Path | None = None, seed: int = 0) -> JointPrior | None:
    """The prior that `--joint_prior` names.

    'llm': the file, checked. 'kinematic': the same shapes from the kinematic tree alone, no language. 'shuffled': the
    file's prior with permuted joints, by a permutation drawn from `seed`. 'none': None.
    UserError for an unknown kind, and for a file that is missing, damaged or not a joint prior.
    """
    if kind == "none":
        return None
    if kind == "kinematic":
        return kinematic_prior()
    if kind == "llm":
        return read_joint_prior(path or JOINT_PRIOR)
    if kind == "shuffled":
        return permuted(read_joint_prior(path or JOINT_PRIOR), flip_commuting_derangement(seed))
    raise UserError(f"unknown joint prior {kind!r}; choose one of {', '.join(JOINT_PRIORS)}")


def kinematic_prior() -> JointPrior:
    """Kernels exp(-d / reach) of the tree distance d, in bones, as relations; the embedding stacks more of them."""
    distance = tree_distances().numpy()
    reaches = np.geomspace(TREE_REACH[0], TREE_REACH[-1], EMBEDDING_DIM // NUM_JOINTS)
    # row j: how near joint j is to every joint, at every reach
    embedding = np.concatenate([np.exp(-distance / reach) for reach in reaches], axis=1)
    return JointPrior(
        embedding=standardise_embedding(embedding),
        text=standardise_matrix(cosine_similarity(embedding)),
        relations=np.stack([standardise_matrix(np.exp(-distance / reach)) for reach in TREE_REACH]),
        relation_names=tuple(f"tree_{reach}" for reach in TREE_REACH),
    )


def flip_commuting_derangement(seed: int) -> np.ndarray:
    """A permutation (24,) of the joints that commutes with the left-right flip and leaves no joint in its place.

    Midline joints go to midline joints; left-right pairs go to other pairs, with left and right exchanged at random.
    Flip invariance requires that pairs stay pairs: the relation of a joint to its mirror image goes to another such
    pair.
    """
    rng = np.random.default_rng(seed)
    joints = np.arange(NUM_JOINTS)
    midline, left = joints[joints == FLIP], joints[joints < FLIP]
    new_left = _derangement(left, rng)
    new_left = np.where(rng.random(len(left)) < 0.5, new_left, FLIP[new_left])
    permutation = np.empty_like(joints)
    permutation[midline] = _derangement(midline, rng)
    permutation[left] = new_left
    permutation[FLIP[left]] = FLIP[new_left]
    return permutation


def permuted(prior: JointPrior, permutation: np.ndarray) -> JointPrior:
    """The prior in which joint i has the values of joint permutation[i]."""
    return replace(
        prior,
        embedding=prior.embedding[permutation],
        text=prior.text[np.ix_(permutation, permutation)],
        relations=prior.relations[:, permutation][:, :, permutation],
    )


def _derangement(items: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    while True:  # a random permutation has no fixed point with probability 1/e
        shuffled = rng.permutation(items)
        if not (shuffled == items).any():
            return shuffled


def cosine_similarity(vectors: np.ndarray) -> np.ndarray:
    """vectors (24, D) -> (24, 24) cosines of the mean-centred vectors."""
    centred = vectors - vectors.mean(0)
    centred = centred / np.linalg.norm(centred, axis=1, keepdims=True)
    return centred @ centred.T


def standardise_embedding(vectors: np.ndarray) -> np.ndarray:
    """vectors (24, D) -> float32: averaged with the mirrored joints, mean 0 over the joints, root mean square 1."""
    vectors = (vectors + vectors[FLIP]) / 2
    vectors = vectors - vectors.mean(0)
    return (vectors / np.sqrt(np.square(vectors).mean())).astype(np.float32)


def standardise_matrix(matrix: np.ndarray) -> np.ndarray:
    """matrix (24, 24) -> float32: symmetric, flip-invariant, zero diagonal, mean 0 and variance 1 elsewhere."""
    matrix = (matrix + matrix.T) / 2
    matrix = (matrix + matrix[np.ix_(FLIP, FLIP)]) / 2
    values = matrix[OFF_DIAGONAL]
    return np.where(OFF_DIAGONAL, (matrix - values.mean()) / values.std(), 0).astype(np.float32)


def write_joint_prior(path: Path, prior: JointPrior, provenance: dict):
    """Save the prior with its provenance (any JSON) and a hash over both."""
    provenance_json = json.dumps(provenance, sort_keys=True, ensure_ascii=False)
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        np.savez_compressed(
            file,
            embedding=prior.embedding,
            text=prior.text,
            relations=prior.relations,
            relation_names=np.array(prior.relation_names),
            provenance=np.array(provenance_json),
            sha256=np.array(_digest(prior, provenance_json)),
        )


def read_joint_prior(path: Path) -> JointPrior:
    """Read and check a file of `write_joint_prior`. UserError names the file, what is wrong and how to rebuild it."""
    prior, provenance_json, digest = _read(path)
    problem = find_problem(prior)
    if problem is None and digest != _digest(prior, provenance_json):
        problem = "its content does not match its hash"
    if problem:
        raise UserError(f"joint prior {path}: {problem}; restore the file or rebuild it with: {BUILD_COMMAND}")
    return prior


def read_provenance(path: Path) -> dict:
    """Provenance of the prior at `path`: prompts, models, dates, encoder, agreement of the sets of answers."""
    return json.loads(_read(path)[1])


def find_problem(prior: JointPrior) -> str | None:
    """The first property of `JointPrior` that `prior` lacks, in words, or None."""
    num_relations = len(prior.relation_names)
    shapes = {
        "embedding": (NUM_JOINTS, EMBEDDING_DIM),
        "text": (NUM_JOINTS, NUM_JOINTS),
        "relations": (num_relations, NUM_JOINTS, NUM_JOINTS),
    }
    for name, shape in shapes.items():
        array = getattr(prior, name)
        if array.shape != shape or array.dtype != np.float32:
            return f"{name} is {array.dtype} {array.shape}, expected float32 {shape}"
        if not np.isfinite(array).all():
            return f"{name} has values that are not finite"
    if np.abs(prior.embedding.mean(0)).max() > TOLERANCE or abs(np.square(prior.embedding).mean() - 1) > TOLERANCE:
        return "embedding is not centred over the joints with unit scale"
    if np.abs(prior.embedding - prior.embedding[FLIP]).max() > TOLERANCE:
        return "embedding changes under the left-right flip"
    for name, matrix in zip(("text", *prior.relation_names), (prior.text, *prior.relations), strict=True):
        values = matrix[OFF_DIAGONAL]
        if np.abs(matrix - matrix.T).max() > TOLERANCE:
            return f"{name} is not symmetric"
        if np.diagonal(matrix).any():
            return f"{name} has entries on its diagonal"
        if abs(values.mean()) > TOLERANCE or abs(values.std() - 1) > TOLERANCE:
            return f"{name} does not have mean 0 and variance 1 off its diagonal"
        if np.abs(matrix - matrix[np.ix_(FLIP, FLIP)]).max() > TOLERANCE:
            return f"{name} changes under the left-right flip"
    return None


def _read(path: Path) -> tuple[JointPrior, str, str]:
    """-> prior, provenance as JSON, hash; not checked."""
    if not path.is_file():
        raise UserError(
            f"joint prior {path} not found; make it with: {BUILD_COMMAND}, or choose --joint_prior kinematic"
        )
    try:
        check_arrays(path)
        with np.load(path, allow_pickle=False) as file:
            arrays = {field.name: file[field.name] for field in fields(JointPrior)}
            provenance_json, digest = file["provenance"].item(), file["sha256"].item()
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise UserError(
            f"cannot read joint prior {path} ({error}); restore the file or rebuild it with: {BUILD_COMMAND}"
        ) from error
    arrays["relation_names"] = tuple(str(name) for name in arrays["relation_names"])
    return JointPrior(**arrays), provenance_json, digest


def _digest(prior: JointPrior, provenance_json: str) -> str:
    digest = hashlib.sha256("\n".join((*prior.relation_names, provenance_json)).encode())
    for array in (prior.embedding, prior.text, prior.relations):
        digest.update(array.astype("<f4").tobytes())
    return digest.hexdigest()
