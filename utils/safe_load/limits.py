"""Size and content checks of torch.save, .npz and .npy files, before memory is allocated for them."""

import math
import pickletools
import re
import zipfile
from pathlib import Path

import numpy as np

from utils.errors import UserError

MAX_ARRAYS = 1 << 30  # bytes in one .npz; the largest body model has a tenth
MAX_PICKLE = 1 << 26  # bytes of the pickle that describes the tensors of a checkpoint
MEMBERS = 100_000
# names that torch.save writes for a dict of tensors and plain values
TENSOR_GLOBAL = re.compile(
    r"collections\.OrderedDict|torch\._utils\._rebuild_(tensor(_v[23])?|parameter)|torch(\.storage)?\.\w+Storage|torch\.Size"
    r"|torch\.(float|bfloat|int|uint|bool|complex|half|double|long|short)\w*"
)


def check_torch_file(path: Path, allow: re.Pattern | None = None):
    """UserError if a torch.save file contains more than tensors and plain values, or unpacks to more than its size.

    allow: further names that its pickle may import.
    """
    if not _is_zip(path):
        return  # format before torch 1.6: torch.load(weights_only=True) checks it, and allocates while it reads
    try:
        with zipfile.ZipFile(path) as file:
            members = file.infolist()
            if len(members) > MEMBERS or sum(member.file_size for member in members) > path.stat().st_size:
                raise UserError(f"{path} is refused: it unpacks to more than its size; checkpoints have no compression")
            names = [m.filename for m in members if m.filename.endswith("/data.pkl") and m.file_size <= MAX_PICKLE]
            calls = [call for name in names for call in _globals(file.read(name))]
    except UserError:
        raise
    except Exception as error:  # damaged archives raise many kinds of errors
        raise UserError(
            f"{path} is damaged or not a checkpoint ({type(error).__name__}); copy or download it again"
        ) from error
    for call in calls:
        if not TENSOR_GLOBAL.fullmatch(call) and not (allow and allow.fullmatch(call)):
            raise UserError(
                f"{path} is refused: it contains more than tensors ({call}), which could run code; "
                "if you trust the file, save only its tensors: torch.save({'model': state_dict}, FILE)"
            )


def check_arrays(path: Path):
    """UserError if an .npz or .npy file declares arrays larger than its data or 1 GB; ValueError if it is damaged.

    Python objects in it are not checked here: np.load(allow_pickle=False) refuses them.
    """
    try:
        if not _is_zip(path):
            with path.open("rb") as file:
                return _check_array(file, path.stat().st_size, path)
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
            if len(members) > MEMBERS or sum(member.file_size for member in members) > MAX_ARRAYS:
                raise UserError(
                    f"{path} is refused: it unpacks to over {MAX_ARRAYS >> 30} GB; download it from its source"
                )
            for member in members:
                with archive.open(member) as file:
                    _check_array(file, member.file_size, path)
    except (UserError, OSError):
        raise
    except Exception as error:  # damaged archives raise many kinds of errors
        raise ValueError(str(error) or type(error).__name__) from error


def _is_zip(path: Path) -> bool:
    """Whether the file is a zip archive, by its first bytes, as torch and numpy decide."""
    with path.open("rb") as file:
        return file.read(2) == b"PK"


def _check_array(file, size: int, path: Path):
    version = np.lib.format.read_magic(file)
    read_header = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}[version]
    shape, _, dtype = read_header(file)
    if not dtype.hasobject and (any(n < 0 for n in shape) or math.prod(shape) * dtype.itemsize > size):
        raise UserError(f"{path} is refused: it is too small for its array of shape {shape}; copy or download it again")


def _globals(pickle: bytes) -> list[str]:
    """Names that a pickle of protocol 2 would import; torch.load refuses later protocols."""
    found = {argument for operation, argument, _ in pickletools.genops(pickle) if operation.name in ("GLOBAL", "INST")}
    return [name.replace(" ", ".") for name in sorted(found)]
