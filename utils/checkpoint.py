"""Checkpoints: written whole, read without running code from them, loaded key by key or refused.

A checkpoint is a dict: `model` (state dict), `config` (what rebuilds the network: models.build.config_from_args), and,
to go on training, all that `RunState` of utils/train needs. Where weights were averaged, `ema` has the averages, which
evaluation and export use, and `num_averaged` their number of steps; `model` has those that training resumes from. A
.safetensors file holds the weights, and the config as JSON; its matrices may be 8-bit numbers with one scale a row
(`to_eight_bits`).
"""

import json
import re
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from utils.errors import UserError
from utils.files import atomic_path
from utils.network_config import check_config
from utils.process import print_once
from utils.safe_load.limits import check_torch_file

CONVERT = "python scripts/convert_smpler_checkpoint.py --input OLD.pt --output NEW.pt"
SAME_FLAGS = "give a checkpoint trained with the same network flags (its options.json has them)"
# what DataParallel and torch.compile add to names of tensors
WRAPPER_KEY = re.compile(r"^(module\.|_orig_mod\.)+|(?<=\.)_orig_mod\.")
# what SMPLer calls things and we do not
SMPLER_KEY = re.compile(
    r"(module\.|_orig_mod\.)*(SMPL_predictor|smpl_handler|init_query_layer_theta|transformer\.\d+)\."
)
# what a backbone checkpoint lacks, and what one without a graph lacks: that starts fresh
TRANSFORMER_KEY = re.compile(r"(initial_tokens|blocks)\.")
GRAPH_KEY = re.compile(r"blocks\.\d+\.(units\.\d+\.graph|joint_embedding)\.")
# what a checkpoint of a frozen backbone lacks: a copy of its upper stages, which starts as they are
UPPER_KEY = re.compile(r"backbone\.upper\.")
# what a config says of the graph
GRAPH_KEYS = {"graph", "joint_prior", "graph_entries", "prior_seed"}
# differences in these are told before tensors are compared: the flag to change, by key of the config
CONFIG_FLAGS = {
    "backbone": "--backbone",
    "hrnet_type": "--hrnet_type",
    "train_backbone": "--train_backbone",
    "model_type": "--model_type",
    "num_transformers": "--num_transformers",
    "graph": "--graph",
    "joint_prior": "--joint_prior",
    "graph_entries": "--graph_entries",
    "prior_seed": "--prior_seed",
}


def find_checkpoint(pattern: str | Path) -> Path:
    """A path as it is; of one with * in its name, like epoch_***.pt, the last match by name. UserError without any."""
    path = Path(pattern)
    if "*" in path.name:
        matches = sorted(
            path.parent.glob(re.sub(r"\*+", "*", path.name)), key=lambda match: (len(match.name), match.name)
        )
        if not matches:
            raise UserError(f"no checkpoint matches {pattern}: check --load_checkpoint, or train one first")
        return matches[-1]
    return path


def write_checkpoint(path: str | Path, content: dict):
    """Write a checkpoint dict atomically; with the suffix .safetensors its `model` and `config` alone."""
    path = Path(path)
    if "config" in content:
        content = {**content, "config": dict(content["config"])}  # an EasyDict is more than a weights-only reader loads
    with atomic_path(path) as temporary:
        try:
            if path.suffix.lower() == ".safetensors":
                tensors = {key: value.contiguous() for key, value in content["model"].items()}
                save_file(tensors, temporary, metadata={"config": json.dumps(content["config"])})
            else:
                torch.save(content, temporary)
        except (RuntimeError, SafetensorError) as error:  # how both report a full disk
            raise UserError(f"cannot write {path}: {_one_line(error)}; check the folder and the disk") from error


def to_eight_bits(state: dict[str, Tensor], least: int = 4096) -> dict[str, Tensor]:
    """Weights of linear and convolution layers of at least `least` numbers as int8; NAME.scale (rows, 1, ...) float32.

    A row is all that one output is made of. Its largest number becomes 127; the rest stays as it is.
    """
    packed = {}
    for name, value in state.items():
        packed[name] = value
        if name.endswith(".weight") and value.dim() > 1 and value.numel() >= least and value.is_floating_point():
            scale = value.float().abs().flatten(1).amax(1).clamp(min=1e-12).view(-1, *[1] * (value.dim() - 1)) / 127
            packed[f"{name}.scale"] = scale
            packed[name] = (value.float() / scale).round().clamp(-127, 127).to(torch.int8)
    return packed


def from_eight_bits(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The inverse of `to_eight_bits`, up to rounding; ValueError if a weight or its scale is missing or misshaped."""
    scales = {name.removesuffix(".scale"): value for name, value in state.items() if name.endswith(".weight.scale")}
    plain = {
        name: value for name, value in state.items() if name.removesuffix(".scale") not in scales or name in scales
    }
    packed = {name for name, value in plain.items() if name.endswith(".weight") and value.dtype == torch.int8}
    # checked before the product, whose size a damaged file could choose
    if packed != set(scales) or any(
        scale.shape != (len(plain[name]), *[1] * (plain[name].dim() - 1)) for name, scale in scales.items()
    ):
        raise ValueError("8-bit weights and their scales do not match")
    return plain | {name: plain[name].float() * scale.float() for name, scale in scales.items()}


def save_checkpoint(path: str | Path, model: nn.Module, config: dict):
    """Save a network (not its data-parallel wrapper) alone; RunState makes those to resume from."""
    write_checkpoint(path, {"model": model.state_dict(), "config": config})


def read_checkpoint(path: str | Path) -> dict:
    """Read any dict of tensors and plain values, to the CPU. UserError where the file is missing, broken or unsafe."""
    path = Path(path)
    if not path.is_file():
        raise UserError(f"checkpoint not found: {path}; check the path, or see the README for how to get or train one")
    if path.suffix.lower() != ".safetensors":
        check_torch_file(path)
    try:
        if path.suffix.lower() == ".safetensors":
            with safe_open(path, framework="pt") as file:
                config = json.loads((file.metadata() or {}).get("config", "null"))
                state = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
                return {"model": from_eight_bits(state), "config": config}
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # damaged files fail in a dozen ways, none of which a user needs to know
        raise UserError(_why_unreadable(path, error)) from error
    if not isinstance(content, dict):
        raise UserError(
            f"{path} is not a checkpoint: it holds a {type(content).__name__}, not a dict of tensors; "
            "give a file of main.py or scripts/export_weights.py"
        )
    return content


def load_checkpoint(path: str | Path) -> dict:
    """Read a checkpoint of SMPL-Pose: a dict with at least `model` and `config`. UserError where it is another file."""
    content = read_checkpoint(path)
    state, config = content.get("model"), content.get("config")
    keys = state if isinstance(state, dict) else content
    if any(isinstance(key, str) and SMPLER_KEY.match(key) for key in keys):
        raise UserError(f"{path} is an SMPLer checkpoint; convert it first: {CONVERT}")
    if not _is_state(state) or not isinstance(config, dict):
        raise UserError(
            f"{path} is not an SMPL-Pose checkpoint: no 'model' with 'config' in it "
            "(HRNet weights alone belong into pretrained/hrnet, see --backbone_weights)"
        )
    if "ema" in content and not _is_state(content["ema"]):
        raise UserError(f"{path} is damaged: its averages of weights are not tensors by name; use another checkpoint")
    check_config(config, path)
    averages = {"ema": unwrap_names(content["ema"], path)} if "ema" in content else {}
    return {**content, "model": unwrap_names(state, path), **averages}


def unwrap_names(state: dict[str, Tensor], source: str | Path = "the checkpoint") -> dict[str, Tensor]:
    """Tensors without what DataParallel and torch.compile add to their names. UserError if two get one name."""
    unwrapped = {WRAPPER_KEY.sub("", key): value for key, value in state.items()}
    if len(unwrapped) < len(state):
        raise UserError(f"{source} has tensors both with and without the prefix module. or _orig_mod.; save it again")
    return unwrapped


def load_model_weights(model: nn.Module, path: str | Path, expected_config: dict) -> dict:
    """Fill a network from a checkpoint that fits it, and give back the checkpoint, its `new` keys listed.

    expected_config is the network's own. A backbone checkpoint may start an SMPL-Pose network, and one without a graph
    may start one with a graph (which does nothing before it learns), and one of a frozen backbone may start one whose
    upper stages learn. Only then are tensors left as they are, and listed in `new`. A checkpoint may leave out a frozen
    MoveNet if its config says so: the network has it from a file of its own. UserError if anything else does not fit.
    """
    content = load_checkpoint(path)
    state, config = content.get("ema", content["model"]), content["config"]
    may_be_new, may_differ = None, set()
    if config.get("model_type") == "backbone" != expected_config["model_type"]:
        may_be_new, may_differ = TRANSFORMER_KEY, {"model_type", "num_transformers", *GRAPH_KEYS}
    elif config.get("graph") == "none" != expected_config["graph"]:
        may_be_new, may_differ = GRAPH_KEY, GRAPH_KEYS
    elif config.get("train_backbone", "auto") == "auto" != expected_config.get("train_backbone", "auto"):
        may_be_new, may_differ = UPPER_KEY, {"train_backbone"}
    _compare_configs(path, config, expected_config, may_differ)

    own = model.state_dict()
    misfits = [key for key, value in state.items() if key in own and value.shape != own[key].shape]
    if misfits:
        theirs, ours = (tuple(tensors[misfits[0]].shape) for tensors in (state, own))
        raise UserError(
            f"{path} does not fit: {len(misfits)} tensors of another shape, first {misfits[0]}: {theirs}, here {ours}; "
            f"{SAME_FLAGS}"
        )
    # copying would round, or drop the imaginary part, with at most a warning
    misfits = [key for key, value in state.items() if key in own and _kind(value) != _kind(own[key])]
    if misfits:
        theirs, ours = (str(tensors[misfits[0]].dtype).removeprefix("torch.") for tensors in (state, own))
        raise UserError(
            f"{path} does not fit: {len(misfits)} tensors of another type, first {misfits[0]}: {theirs}, here {ours}; "
            f"{SAME_FLAGS}"
        )
    if damaged := not_finite(state):
        raise UserError(
            f"{path}: {len(damaged)} tensors have values that are not finite, first {damaged[0]}; "
            "the training diverged or the file is damaged, use another checkpoint"
        )
    result = model.load_state_dict(state, strict=False)  # what is left out or over is judged here
    new = [key for key in result.missing_keys if may_be_new and may_be_new.match(key)]
    at_hand = ("backbone.movenet.",) if config.get("left_out") == "backbone" else ()
    missing = [key for key in result.missing_keys if key not in new and not key.startswith(at_hand)]
    for what, keys in (("missing", missing), ("unknown", result.unexpected_keys)):
        if keys:
            raise UserError(f"{path} does not fit: {len(keys)} tensors {what}, first {keys[0]}; {SAME_FLAGS}")
    return {**content, "new": new}


def load_weights(model: nn.Module, pattern: str | Path | None, config: dict) -> dict | None:
    """Load weights from a path, or a pattern such as epoch_***.pt -> the checkpoint; None if there is no pattern."""
    if pattern is None:
        return None
    path = find_checkpoint(pattern)
    checkpoint = load_model_weights(model, path, config)
    theirs, ours = (bool(kind.get("align_corners", True)) for kind in (checkpoint["config"], config))
    if theirs != ours:
        print_once(f"notice: {path} was trained with --align_corners {theirs:d}, this run has {ours:d}")
    new = sorted({key.split(".")[0] for key in checkpoint["new"]})
    fresh = f"; not in it, so randomly initialised: {', '.join(new)} ({len(checkpoint['new'])} tensors)" if new else ""
    print_once(f"loaded {path}{fresh}")
    return checkpoint


def _compare_configs(path: str | Path, config: dict, expected: dict, may_differ: set[str]):
    """UserError naming the first difference that keeps the weights from fitting, and the flag that mends it."""
    for key, flag in CONFIG_FLAGS.items():
        if key in config and key not in may_differ and config[key] != expected[key]:
            theirs, ours = (" ".join(v) if isinstance(v, list) else v for v in (config[key], expected[key]))
            raise UserError(
                f"{path} was made with {flag} {theirs}, this run has {flag} {ours}: "
                "change the flag, or choose another checkpoint"
            )
    if config.get("num_vertices", expected["num_vertices"]) != expected["num_vertices"]:
        raise UserError(
            f"{path} was made for the body '{config.get('body')}' with {config['num_vertices']} vertices, this run has "
            f"'{expected['body']}' with {expected['num_vertices']}: give the right body by --smpl_path"
        )


def check_blocks(content: dict, path: str | Path):
    """UserError if the configuration of a checkpoint has another number of blocks than its weights, before a network of
    that size is built."""
    claimed = content["config"].get("num_transformers")
    found = len({match[1] for key in content["model"] if (match := re.match(r"blocks\.(\d+)\.", key))})
    if claimed is not None and claimed != found:
        raise UserError(
            f"{path}: num_transformers is {claimed} in the network's configuration, the weights have {found} blocks; "
            "use an undamaged file"
        )


def not_finite(state: dict[str, Tensor]) -> list[str]:
    """Names of the tensors with NaN or infinite values."""
    return [key for key, value in state.items() if value.is_floating_point() and not value.isfinite().all()]


def _kind(tensor: Tensor) -> tuple[bool, bool]:
    return tensor.is_floating_point(), tensor.is_complex()


def _is_state(state) -> bool:
    return isinstance(state, dict) and all(isinstance(k, str) and isinstance(v, Tensor) for k, v in state.items())


def _why_unreadable(path: Path, error: Exception) -> str:
    if blocked := re.search(r"unsupported global:?(?: GLOBAL)? ([\w.]+)", str(error), re.IGNORECASE):
        return (
            f"{path} holds more than tensors ({blocked[1]}), which could run code and is not loaded; "
            "where you trust the file, save its tensors anew: torch.save({'model': state_dict}, FILE)"
        )
    return f"{path} is not a checkpoint, or is damaged ({type(error).__name__}); copy or download it again"


def _one_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0][:200]
