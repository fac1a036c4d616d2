"""embeddings.npz: one vector per joint from the descriptions, with the encoder and the hash of the descriptions."""

import zipfile
from pathlib import Path

import numpy as np

from models.joint_prior import cosine_similarity
from scripts.lib.joint_prior.encoder import encode_sentences
from scripts.lib.joint_prior.sets import texts_hash
from utils.errors import UserError
from utils.files import atomic_path
from utils.safe_load.limits import check_arrays
from utils.skeleton import SMPL_JOINTS

ENCODE_COMMAND = "python scripts/build_joint_prior.py encode"


def embed(descriptions: list[list[str]]) -> dict[str, np.ndarray]:
    """Descriptions of K sets, 24 texts each -> the arrays of the file.

    embedding (24, D): mean over the sets, centred over the joints; encoder: its name; consistency: mean correlation of
    the similarities of one set with those of the other sets; descriptions_sha256.
    """
    vectors, encoder = encode_sentences([text for texts in descriptions for text in texts])
    vectors = vectors.reshape(len(descriptions), len(SMPL_JOINTS), -1)
    mean = vectors.mean(0)
    others = [np.delete(vectors, k, axis=0).mean(0) for k in range(len(vectors))]
    consistency = np.mean([similarity_correlation(one, rest) for one, rest in zip(vectors, others, strict=True)])
    return {
        "embedding": mean - mean.mean(0),
        "encoder": np.array(encoder),
        "consistency": np.array(float(consistency)),
        "descriptions_sha256": np.array(texts_hash(descriptions)),
    }


def write_embeddings(path: Path, embeddings: dict[str, np.ndarray]):
    # into an open file: numpy gives a name in upper case another suffix
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        np.savez_compressed(file, **embeddings)


def read_embeddings(path: Path, descriptions_sha256: str) -> dict[str, np.ndarray]:
    """The arrays of `embed`. UserError if the file is damaged or was made from other descriptions."""
    try:
        check_arrays(path)
        with np.load(path, allow_pickle=False) as file:
            embeddings = dict(file)
            if embeddings["descriptions_sha256"].item() == descriptions_sha256:
                return embeddings
    except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise UserError(f"cannot read {path} ({error}); run: {ENCODE_COMMAND}") from error
    raise UserError(f"{path} belongs to other descriptions; run: {ENCODE_COMMAND}")


def similarity_correlation(a: np.ndarray, b: np.ndarray) -> float:
    """Two sets of vectors (24, D) -> Pearson correlation of their similarities between joints."""
    pairs = np.triu_indices(len(a), 1)
    return float(np.corrcoef(cosine_similarity(a)[pairs], cosine_similarity(b)[pairs])[0, 1])
