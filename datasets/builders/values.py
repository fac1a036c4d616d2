"""Values of releases, whose writers differ in nesting and types, as arrays and text."""

import json
from pathlib import Path

import numpy as np

from datasets.builders.record import BadEntry
from utils.errors import UserError
from utils.safe_load.limits import check_arrays

LARGEST = 1e7  # no pixel, millimetre or radian of a release is beyond


def numbers(value, shape: tuple[int, ...], name: str) -> np.ndarray:
    """value, however nested -> float64 array of this shape; BadEntry where it has other or nonfinite numbers."""
    try:
        array = np.array(value, np.float64)  # a copy: what a pickle holds cannot be written to
    except (TypeError, ValueError, OverflowError):
        raise BadEntry(f"'{name}' is not numbers", f"{type(value).__name__}") from None
    if array.size != np.prod(shape):
        raise BadEntry(f"'{name}' has another shape", f"{array.shape}, expected {shape}")
    if not (np.abs(array) < LARGEST).all():
        raise BadEntry(f"'{name}' has nonfinite or huge numbers")
    return array.reshape(shape)


def betas_of(value) -> np.ndarray:
    """10 shape coefficients; of more (16, 300) the first 10 -> (10,)."""
    array = np.asarray(value, np.float64).reshape(-1)
    if len(array) < 10:
        raise BadEntry("fewer than 10 betas", f"{len(array)}")
    return numbers(array[:10], (10,), "betas")


def text(value) -> str:
    """str, bytes, numpy text or an array of one of them -> str."""
    if isinstance(value, np.ndarray):
        if value.size != 1:
            raise BadEntry("a name is not one text", f"{value.shape}")
        value = value.reshape(-1)[0]
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


def gender_of(value) -> str:
    """'m', 'f', 'male', b'Female', '' -> 'male', 'female' or 'neutral'."""
    if value is None:
        return "neutral"
    first = text(value).strip().lower()[:1]
    if first not in ("m", "f", "n", ""):
        raise BadEntry("unknown gender", text(value)[:40])
    return {"m": "male", "f": "female"}.get(first, "neutral")


def flag(value) -> bool:
    """A truth value given as bool, number, or an array or list of one."""
    return bool(np.asarray(value, np.float64).any())


def load_json(path: Path):
    """A JSON file -> its content. UserError with the place of the error."""
    try:
        with path.open(encoding="utf-8") as file:
            return json.load(file)
    except FileNotFoundError as error:
        raise UserError(f"{path} is missing; see docs/data.md for where it comes from") from error
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"{path} is not readable as JSON ({error}); download it again") from error


def load_npz(path: Path) -> dict[str, np.ndarray]:
    """The plain arrays of an .npz -> dict. Arrays of Python objects would run code and are refused one by one."""
    try:
        check_arrays(path)
        with np.load(path, allow_pickle=False) as file:
            return {name: _plain(file, name) for name in file.files}
    except FileNotFoundError as error:
        raise UserError(f"{path} is missing; see docs/data.md for where it comes from") from error
    except UserError:
        raise
    except Exception as error:  # damaged archives fail in a dozen ways
        raise UserError(f"{path} is damaged or not an .npz file ({error}); download it again") from error


class Refused:
    """An array of Python objects, which is not read."""


def _plain(file, name: str):
    try:
        return file[name]
    except ValueError as error:
        if "allow_pickle" in str(error):
            return Refused()
        raise
