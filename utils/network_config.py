"""The configuration of a network: the choices that a checkpoint carries so that the same network can be built again.

A configuration is a flat dict of the keys in FIELDS. A checkpoint is untrusted, so every value is checked before a
network is built from it.
"""

import re
import reprlib
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from easydict import EasyDict

from utils.errors import UserError
from utils.paths import ROOT

NOT_BACKBONES = ("__init__", "registry", "timm")  # timm needs the name of a network
MODEL_TYPES = ("backbone", "SMPL-Pose")
BACKBONES = tuple(
    sorted(path.stem for path in (ROOT / "models" / "backbones").glob("*.py") if path.stem not in NOT_BACKBONES)
)
BACKBONE_NAMES = " or ".join((*BACKBONES, "timm:NAME"))
HRNET_TYPES = ("w18", "w32", "w48")
TRAIN_BACKBONES = ("auto", "upper")
GRAPHS = ("adaptive", "static", "none")
JOINT_PRIORS = ("llm", "kinematic", "shuffled", "none")
GRAPH_ENTRIES = ("bias", "conv", "embedding")
MAX_TRANSFORMERS = 64


class Field(NamedTuple):
    """One key of a configuration."""

    default: Any  # of a checkpoint that lacks the key
    range: str  # the allowed values, for messages
    allows: Callable[[Any], bool]


def _choice(default: str | None, *values: str | None) -> Field:
    # the type comes first: the truth of a comparison with an array is an error
    kinds = {type(value) for value in values}

    def allows(value) -> bool:
        return type(value) in kinds and value in values

    return Field(default, f"one of {', '.join(map(str, values))}", allows)


def _whole(default: int | None, least: int, most: int) -> Field:
    # bool is a subclass of int, and 3.0 == 3
    def allows(value) -> bool:
        return type(value) is int and least <= value <= most

    return Field(default, f"a whole number from {least} to {most}", allows)


def _some_of(values: tuple[str, ...]) -> Field:
    def allows(value) -> bool:
        known = type(value) is list and len(value) <= len(values) and all(type(entry) is str for entry in value)
        return known and set(value) <= {*values} and len(set(value)) == len(value)

    return Field([*values], f"a list of some of {', '.join(values)}, each once", allows)


def is_backbone(value: object) -> bool:
    """Whether a value names a backbone: a file of models/backbones, or timm:NAME with a NAME of the installed timm."""
    if type(value) is not str:
        return False
    if not value.startswith("timm:"):
        return value in BACKBONES
    import timm  # takes a second, which other backbones do not need

    name = value.removeprefix("timm:")
    # a pattern first: timm also takes names of files and of other hosts
    plain = re.fullmatch(r"\w{1,100}(\.\w{1,100})?", name, re.ASCII)
    return bool(plain) and (name in timm.list_pretrained() if plain[1] else timm.is_model(name))


FIELDS = {
    "model_type": _choice("SMPL-Pose", *MODEL_TYPES),
    "backbone": Field("hrnet", f"{BACKBONE_NAMES} with a network of the installed timm", is_backbone),
    "hrnet_type": _choice("w32", *HRNET_TYPES, None),  # None: another backbone
    "train_backbone": _choice("auto", *TRAIN_BACKBONES),
    # how maps are read between pixels; older checkpoints read them as the published network does
    "align_corners": Field(True, "true or false", lambda value: type(value) is bool),
    "num_transformers": _whole(3, 0, MAX_TRANSFORMERS),
    "graph": _choice("adaptive", *GRAPHS),
    "joint_prior": _choice("llm", *JOINT_PRIORS),
    "graph_entries": _some_of(GRAPH_ENTRIES),
    "prior_seed": _whole(0, 0, 2**63 - 1),
    # the body of training
    "body": Field(None, "a name of 1 to 255 characters", lambda value: type(value) is str and 0 < len(value) < 256),
    "num_vertices": _whole(None, 1, 10_000_000),
    # tensors that the checkpoint does not repeat, because the repository has them in a file of their own
    "left_out": _choice(None, "backbone"),
}


def check_config(config: Mapping, source: object):
    """UserError that names the first key which is unknown or has an impossible value; source: for the message."""
    for key, value in config.items():
        if type(key) is not str or key not in FIELDS:
            raise UserError(
                f"{source}: the network's configuration has an unknown key {reprlib.repr(key)}, known are "
                f"{', '.join(FIELDS)}; was it written by another version?"
            )
        if not FIELDS[key].allows(value):
            raise UserError(
                f"{source}: {key} is {reprlib.repr(value)} in the network's configuration, it must be "
                f"{FIELDS[key].range}; use an undamaged file"
            )


def complete_config(config: Mapping, source: object) -> EasyDict:
    """The checked configuration with the default of every key that it lacks."""
    check_config(config, source)
    return EasyDict({key: config.get(key, field.default) for key, field in FIELDS.items()})
