"""What files of arrays may claim before memory is set aside for it: files of torch.save, .npz and .npy."""

import math
import pickletools
import re
import zipfile
from pathlib import Path

import numpy as np

from utils.errors import UserError

MAX_ARRAYS = 1 << 30  # bytes in one .npz; the largest body model has a tenth
MAX_PICKLE = 1 << 26  # bytes that tell how the tensors of a checkpoint hang together
MEMBERS = 100_000
# what a dict of tensors and plain values is made of, as torch.save names it
TENSOR_GLOBAL = re.compile(
    r"collections\.OrderedDict|torch\._utils\._rebuild_(tensor(_v[23])?|parameter)|torch(\.storage)?\.\w+Storage|torch\.Size"
    r"|torch\.(float|bfloat|int|uint|bool|complex|half|double|long|short)\w*"
)


def check_torch_file(path: Path):
    """UserError where a file of torch.save holds more than tensors, or unpacks to more than it has bytes."""
    if not _is_zip(path):
        return  # of the time before torch 1.6: torch.load reads it with the same care, and makes room as it reads
    try:
        with zipfile.ZipFile(path) as file:
            members = file.infolist()
            if len(members) > MEMBERS or sum(member.file_size for member in members) > path.stat().st_size:
                raise UserError(f"{path} is refused: it unpacks to more than it has bytes; no checkpoint is compressed")
            names = [m.filename for m in members if m.filename.endswith("/data.pkl") and m.file_size <= MAX_PICKLE]
            calls = [call for name in names for call in _globals(file.read(name))]
    except UserError:
        raise
    except Exception as error:  # damaged archives fail in a dozen ways
        raise UserError(
            f"{path} is not a checkpoint, or is damaged ({type(error).__name__}); copy or download it again"
        ) from error
    for call in calls:
        if not TENSOR_GLOBAL.fullmatch(call):
            raise UserError(
                f"{path} holds more than tensors ({call}), which could run code and is not loaded; "
                "where you trust the file, save its tensors anew: torch.save({'model': state_dict}, FILE)"
            )


def check_arrays(path: Path):
    """UserError where an .npz or .npy file claims arrays that it does not have, or over 1 GB; ValueError where damaged.

    Objects in it are left to np.load(allow_pickle=False), which refuses those that are asked for.
    """
    try:
        if not _is_zip(path):
            with path.open("rb") as file:
                return _check_array(file, path.stat().st_size, path)
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
            if len(members) > MEMBERS or sum(member.file_size for member in members) > MAX_ARRAYS:
                raise UserError(f"{path} is refused: it unpacks to over {MAX_ARRAYS >> 30} GB; get it from its source")
            for member in members:
                with archive.open(member) as file:
                    _check_array(file, member.file_size, path)
    except (UserError, OSError):
        raise
    except Exception as error:  # damaged archives fail in a dozen ways
        raise ValueError(str(error) or type(error).__name__) from error


def _is_zip(path: Path) -> bool:
    """By the first bytes, as torch and numpy decide it."""
    with path.open("rb") as file:
        return file.read(2) == b"PK"


def _check_array(file, size: int, path: Path):
    version = np.lib.format.read_magic(file)
    read_header = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}[version]
    shape, _, dtype = read_header(file)
    if not dtype.hasobject and (any(n < 0 for n in shape) or math.prod(shape) * dtype.itemsize > size):
        raise UserError(
            f"{path} is refused: it claims an array of shape {shape}, for which it is too small; get it again"
        )


def _globals(pickle: bytes) -> list[str]:
    """The names that a pickle of torch.save's protocol would import; torch.load refuses those of later protocols."""
    found = {argument for operation, argument, _ in pickletools.genops(pickle) if operation.name in ("GLOBAL", "INST")}
    return [name.replace(" ", ".") for name in sorted(found)]
