"""Configuration or command line -> network and criterion. The only file of this package that reads the command line."""

import functools
from argparse import Namespace
from os import PathLike
from pathlib import Path

import numpy as np
import torch
from easydict import EasyDict
from torch import Tensor, nn

from models.backbones.registry import backbone_kind
from models.body_model import NUM_BETAS, BodyModel, load_body_model
from models.criterion import Criterion
from models.gendered import load_gendered_bodies
from models.graph_transformer import GraphTransformerBlock
from models.joint_graph import JointEmbedding, JointGraph
from models.joint_prior import load_joint_prior
from models.mesh_recovery import InitialTokens, MeshRecovery, subsample_body
from models.regressor import IterativeRegressor
from utils.errors import UserError
from utils.files import find_file
from utils.network_config import check_config, complete_config
from utils.paths import META_DATA, OPEN_BODY
from utils.safe_load.limits import check_arrays
from utils.skeleton import NUM_JOINTS

LICENSED_BODIES = (
    "basicModel_neutral_lbs_10_207_0_v1.0.0.pkl",
    "basicmodel_neutral_lbs_10_207_0_v1.1.0.pkl",
    "SMPL_NEUTRAL.pkl",
    "SMPL_NEUTRAL.npz",
)
# a keypoint regressor belongs to one body and one data set
LICENSED_REGRESSORS = {"3dpw": "J_regressor_3dpw.npy"}
DEFAULT_LICENSED_REGRESSOR = "J_regressor_h36m_correct.npy"
LICENSED_MEAN_PARAMS = "smpl_mean_params.npz"

HIDDEN_DIM = 128
NUM_HEADS = 4
FIRST_CAM = torch.tensor([1.0, 0, 0])  # of the published network, which ignores the camera of its mean parameters


def build_model(options: Namespace | EasyDict) -> tuple[MeshRecovery, Criterion]:
    """A network and the criterion that trains it.

    options: the parsed command line (utils.options), or a configuration (`complete_config`); with the latter, files,
    initial weights and losses are the defaults of the command line.
    """
    if isinstance(options, EasyDict):
        network = build_network(options)
        return network, Criterion(network.body_model, network.keypoint_regressor)
    network = build_network(
        config_from_args(options),
        smpl_path=options.smpl_path,
        keypoint_regressor=options.keypoint_regressor,
        mean_params=options.mean_params,
        backbone_weights=options.backbone_weights,
        data_mode=options.data_mode,
        dropout=options.dropout,
        regressor_dropout=options.regressor_dropout,
        loss_vertices=options.loss_vertices,
        mask_joints=options.mask_joints,
    )
    if options.freeze_backbone:
        network.freeze_backbone()
    criterion = Criterion(
        network.body_model,
        network.keypoint_regressor,
        w_vert=options.w_vert,
        w_theta=options.w_theta,
        w_2dj=options.w_2dj,
        w_3dj=options.w_3dj,
        w_betas=options.w_betas,
        w_orient=options.w_orient,
        w_bones=options.w_bones,
        w_features=options.w_features,
        stage_weights=options.stage_weights,
        keypoint_loss=options.keypoint_loss,
        subsampled=network.subsampled,
    )
    if options.data_mode == "3dpw" and options.protocol != "smpler":
        neutral = find_body(options.smpl_path)
        criterion.gendered = load_gendered_bodies(neutral, network.body_model, network.keypoint_regressor)
    return network, criterion


def build_network(
    config: EasyDict,
    *,
    smpl_path: str | PathLike | None = None,
    keypoint_regressor: str | PathLike | None = None,
    mean_params: str | PathLike | None = None,
    backbone_weights: str = "auto",
    data_mode: str | None = None,
    dropout: float = 0.1,
    regressor_dropout: float | None = None,
    loss_vertices: int = 0,
    mask_joints: float = 0.0,
) -> MeshRecovery:
    """The network that a configuration describes, with initial weights.

    smpl_path, keypoint_regressor, mean_params: files of the body, None for their usual places (`find_body`,
    `find_keypoint_regressor`, `load_mean_params`); mean_params "none" starts at the identity pose. backbone_weights:
    auto, coco, imagenet, none or a file, see models/backbones. data_mode: the set that the keypoint regressor is for.
    dropout: of the graph transformer. regressor_dropout: of the regressor, None for the backbone's usual one.
    loss_vertices: vertices of the body in training, 0 for all. mask_joints: share of masked joints in training.
    """
    body_model = load_body_model(find_body(smpl_path, data_mode))
    regressor_path = find_keypoint_regressor(keypoint_regressor, data_mode, body_model)
    joint_regressor = load_keypoint_regressor(regressor_path, body_model)
    backbone = build_backbone(config, backbone_weights)
    feature_dim = backbone.pooled_channels
    pose6d, betas, cam = load_mean_params(mean_params, body_model)
    kind = backbone_kind(config.backbone)
    cam = cam if kind.mean_camera else FIRST_CAM
    dropout_rate = kind.regressor_dropout if regressor_dropout is None else regressor_dropout
    regressor = IterativeRegressor(feature_dim, pose6d, betas, cam, dropout=dropout_rate)
    initial_tokens, blocks = None, []
    if config.model_type == "SMPL-Pose":
        initial_tokens = InitialTokens(feature_dim, HIDDEN_DIM)
        blocks = [build_block(config, backbone, dropout) for _ in range(config.num_transformers)]
    subsampled = subsample_body(body_model, joint_regressor, loss_vertices) if loss_vertices else None
    return MeshRecovery(
        backbone, regressor, body_model, joint_regressor, initial_tokens, blocks, subsampled, mask_joints
    )


def build_block(config: EasyDict, backbone: nn.Module, dropout: float = 0.1) -> GraphTransformerBlock:
    """One block for the maps of a backbone, with the joint graph and joint prior of the configuration."""
    make_graph, joint_embedding = None, None
    if config.graph != "none":
        prior = load_joint_prior(config.joint_prior, seed=config.prior_seed)
        relations = None
        if prior is not None:
            relations = torch.from_numpy(np.concatenate((prior.text[None], prior.relations)))
            if "embedding" in config.graph_entries:
                joint_embedding = JointEmbedding(torch.from_numpy(prior.embedding), HIDDEN_DIM)
        if {"bias", "conv"} & {*config.graph_entries}:
            make_graph = functools.partial(
                JointGraph, HIDDEN_DIM, NUM_HEADS, relations, config.graph == "adaptive", config.graph_entries
            )
    return GraphTransformerBlock(
        backbone.map_channels,
        HIDDEN_DIM,
        NUM_HEADS,
        dropout=dropout,
        point_channels=backbone.point_channels,
        make_graph=make_graph,
        joint_embedding=joint_embedding,
        align_corners=config.align_corners,
        **backbone_kind(config.backbone).block,
    )


def config_from_args(args: Namespace, body_model: BodyModel | None = None) -> EasyDict:
    """The configuration of the network that the command line describes, with its body if given."""
    graph = args.graph if args.model_type == "SMPL-Pose" else "none"
    joint_prior = args.joint_prior if graph != "none" else "none"
    config = {
        "model_type": args.model_type,
        "backbone": args.backbone,
        "hrnet_type": args.hrnet_type if args.backbone == "hrnet" else None,
        "train_backbone": args.train_backbone or "auto",
        "align_corners": align_corners(args),
        "num_transformers": args.num_transformers if args.model_type == "SMPL-Pose" else 0,
        "graph": graph,
        "joint_prior": joint_prior,
        "graph_entries": sorted({*args.graph_entries}) if graph != "none" else [],
        "prior_seed": args.prior_seed if joint_prior == "shuffled" else 0,
    }
    if body_model is not None:
        config |= {"body": body_model.name, "num_vertices": body_model.num_vertices}
    check_config(config, "command line")
    return EasyDict(config)


def build_backbone(config: EasyDict, weights: str = "auto") -> nn.Module:
    """The image backbone of the configuration; weights: --backbone_weights, see its file in models/backbones."""
    return backbone_kind(config.backbone).build(config, weights)


def take_choices(args: Namespace, config: dict) -> None:
    """Take from a checkpoint's configuration what the command line leaves open: --align_corners, --train_backbone."""
    for name in ("align_corners", "train_backbone"):
        if getattr(args, name) is None:
            setattr(args, name, complete_config(config, "checkpoint")[name])


def align_corners(args: Namespace) -> bool:
    """How maps are read between pixels: as published for HRNet, at their true places for other backbones."""
    return backbone_kind(args.backbone).align_corners if args.align_corners is None else bool(args.align_corners)


def find_body(smpl_path: str | PathLike | None = None, data_mode: str | None = None) -> Path:
    """The given file, else the licensed body if it is in its usual place, else the open one.

    Synthetic people have labels of the open body: for them the licensed body is not looked for.
    """
    if smpl_path:
        return Path(smpl_path)
    if data_mode == "synthetic":
        return OPEN_BODY
    return find_file(META_DATA, LICENSED_BODIES) or OPEN_BODY


def find_keypoint_regressor(
    keypoint_regressor: str | PathLike | None, data_mode: str | None, body_model: BodyModel
) -> Path | None:
    """The given file, else None if the body's file has a regressor, else the licensed one of the data set."""
    if keypoint_regressor:
        return Path(keypoint_regressor)
    if "j17" in body_model.keypoint_regressors:
        return None
    name = LICENSED_REGRESSORS.get(data_mode, DEFAULT_LICENSED_REGRESSOR)
    return find_file(META_DATA, [name]) or META_DATA / name


def name_keypoint_regressor(args: Namespace, body_model: BodyModel) -> str:
    """Name of the keypoint regressor that the command line chooses, for printing."""
    path = find_keypoint_regressor(args.keypoint_regressor, args.data_mode, body_model)
    return f"J17 of {body_model.name}" if path is None else path.name


def load_keypoint_regressor(path: Path | None, body_model: BodyModel) -> Tensor:
    """(17, V) float32, rows in Human3.6M order; path None: the body's own."""
    if path is None:
        return torch.from_numpy(np.asarray(body_model.keypoint_regressors["j17"], dtype=np.float32))
    matrix = _load_array(path, "keypoint regressor", "give one of shape (17, V) with --keypoint_regressor FILE.npy")
    expected = (17, body_model.num_vertices)
    if matrix.shape != expected:
        raise UserError(
            f"keypoint regressor {path} has shape {matrix.shape}, the body {body_model.name} needs {expected}; "
            "a regressor belongs to one body: choose its own with --keypoint_regressor, or another --smpl_path"
        )
    return torch.from_numpy(matrix.astype(np.float32))


def load_mean_params(mean_params: str | PathLike | None, body_model: BodyModel) -> tuple[Tensor, Tensor, Tensor]:
    """Start of the regressor: 6D pose (144,), betas (10,), cam (3,); None: the body's own, else the licensed file."""
    if mean_params == "none":
        pose6d = torch.tensor([1.0, 0, 0, 1, 0, 0]).repeat(NUM_JOINTS)
        return pose6d, torch.zeros(NUM_BETAS), torch.tensor([1.0, 0, 0])
    if not mean_params and body_model.mean_params is not None:
        mean = body_model.mean_params
    else:
        path = Path(mean_params or find_file(META_DATA, [LICENSED_MEAN_PARAMS]) or META_DATA / LICENSED_MEAN_PARAMS)
        mean = _load_array(path, "mean parameters", "give an npz with pose, shape and cam by --mean_params, or 'none'")
    shapes = {"pose": 6 * NUM_JOINTS, "shape": NUM_BETAS, "cam": 3}
    for key, size in shapes.items():
        if key not in mean or np.size(mean[key]) != size:
            raise UserError(f"mean parameters lack '{key}' with {size} numbers; give another file with --mean_params")
    return tuple(torch.as_tensor(np.asarray(mean[key], dtype=np.float32)).flatten() for key in shapes)


def _load_array(path: Path, what: str, remedy: str):
    if not path.is_file():
        raise UserError(f"{what} not found at {path}: {remedy}")
    try:
        check_arrays(path)
        loaded = np.load(path, allow_pickle=False)
        return dict(loaded) if isinstance(loaded, np.lib.npyio.NpzFile) else loaded
    except (ValueError, OSError, EOFError) as error:
        raise UserError(f"{what} in {path} cannot be read ({error}); {remedy}") from error
