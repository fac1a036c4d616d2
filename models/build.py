"""Options -> network and criterion. The only file of this package that sees `args`."""

import functools
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from models.backbone import build_hrnet
from models.body_model import BodyModel, load_body_model
from models.criterion import Criterion
from models.graph_transformer import GraphTransformerBlock
from models.joint_graph import JointEmbedding, JointGraph
from models.joint_prior import load_joint_prior
from models.mesh_recovery import InitialTokens, MeshRecovery, thin_body
from models.regressor import IterativeRegressor
from utils.errors import UserError
from utils.paths import META_DATA, MOVENET, MOVENET_STATISTICS, OPEN_BODY, PRETRAINED
from utils.safe_load.limits import check_arrays

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
POSE_HRNET = {"w32": "pose_hrnet_w32_256x256.pth", "w48": "pose_hrnet_w48_256x192.pth"}


HIDDEN_DIM = 128
NUM_HEADS = 4
# the published network, and one whose finest map has 14 pixels a side
REGRESSOR_DROPOUT = {"hrnet": 0.5, "movenet": 0.1}
BLOCK_SIZES = {"hrnet": {}, "movenet": {"num_units": 1, "radius": 2, "map_size": 14}}


def build_model(args) -> tuple[MeshRecovery, Criterion]:
    """The network that `args` describe and the criterion that trains it."""
    body_model = build_body_model(args)
    keypoint_regressor = build_keypoint_regressor(args, body_model)
    backbone = build_backbone(args)
    feature_dim = backbone.pooled_channels
    dropout = REGRESSOR_DROPOUT[args.backbone]
    regressor = IterativeRegressor(feature_dim, *load_mean_params(args, body_model), dropout=dropout)
    initial_tokens, blocks = None, []
    if args.model_type == "SMPL-Pose":
        initial_tokens = InitialTokens(feature_dim, HIDDEN_DIM)
        blocks = [build_block(args, backbone) for _ in range(args.num_transformers)]
    thin = thin_body(body_model, keypoint_regressor, args.loss_vertices) if args.loss_vertices else None
    model = MeshRecovery(backbone, regressor, body_model, keypoint_regressor, initial_tokens, blocks, thin)
    criterion = Criterion(
        body_model,
        keypoint_regressor,
        w_vert=args.w_vert,
        w_theta=args.w_theta,
        w_2dj=args.w_2dj,
        w_3dj=args.w_3dj,
        w_betas=args.w_betas,
        stage_weights=args.stage_weights,
        keypoint_loss=args.keypoint_loss,
        thin=thin,
    )
    return model, criterion


def build_block(args, backbone: nn.Module) -> GraphTransformerBlock:
    """One block, with the joint graph and joint prior that `--graph`, `--joint_prior` and `--graph_entries` name."""
    make_graph, joint_embedding = None, None
    if args.graph != "none":
        prior = load_joint_prior(args.joint_prior, seed=args.prior_seed)
        relations = None
        if prior is not None:
            relations = torch.from_numpy(np.concatenate((prior.text[None], prior.relations)))
            if "embedding" in args.graph_entries:
                joint_embedding = JointEmbedding(torch.from_numpy(prior.embedding), HIDDEN_DIM)
        if {"bias", "conv"} & {*args.graph_entries}:
            make_graph = functools.partial(
                JointGraph, HIDDEN_DIM, NUM_HEADS, relations, args.graph == "adaptive", args.graph_entries
            )
    return GraphTransformerBlock(
        backbone.map_channels,
        HIDDEN_DIM,
        NUM_HEADS,
        dropout=args.dropout,
        point_channels=backbone.point_channels,
        make_graph=make_graph,
        joint_embedding=joint_embedding,
        **BLOCK_SIZES[args.backbone],
    )


def config_from_args(args, body_model: BodyModel) -> dict:
    """What a checkpoint must carry so that the same network can be built again, and mismatches explained."""
    graph = args.graph if args.model_type == "SMPL-Pose" else "none"
    joint_prior = args.joint_prior if graph != "none" else "none"
    return {
        "model_type": args.model_type,
        "backbone": args.backbone,
        "hrnet_type": args.hrnet_type if args.backbone == "hrnet" else None,
        "num_transformers": args.num_transformers if args.model_type == "SMPL-Pose" else 0,
        "graph": graph,
        "joint_prior": joint_prior,
        "graph_entries": sorted({*args.graph_entries}) if graph != "none" else [],
        "prior_seed": args.prior_seed if joint_prior == "shuffled" else 0,
        "body": body_model.name,
        "num_vertices": body_model.num_vertices,
    }


def build_backbone(args) -> nn.Module:
    """The image network of `--backbone` with the weights of `--backbone_weights`."""
    if args.backbone == "movenet":
        from models.movenet_backbone import build_movenet_backbone

        return build_movenet_backbone(MOVENET, MOVENET_STATISTICS)
    return build_hrnet(args.hrnet_type, find_hrnet_weights(args.backbone_weights, args.hrnet_type))


def find_hrnet_weights(choice: str, hrnet_type: str) -> Path | str | None:
    """`auto` is the official COCO checkpoint where the user has put it, else a random start."""
    if choice == "none":
        return None
    if choice == "imagenet":
        return "imagenet"
    if hrnet_type not in POSE_HRNET:
        if choice == "coco":
            raise UserError(f"there is no official COCO checkpoint of HRNet-{hrnet_type}; use --backbone_weights none")
        return None
    path = PRETRAINED / "hrnet" / POSE_HRNET[hrnet_type]
    return path if choice == "coco" or path.exists() else None


def find_body(args) -> Path:
    """`--smpl_path`, else the licensed body where the user has put it, else the open one."""
    if args.smpl_path:
        return Path(args.smpl_path)
    return next((META_DATA / name for name in LICENSED_BODIES if (META_DATA / name).exists()), OPEN_BODY)


def build_body_model(args) -> BodyModel:
    return load_body_model(find_body(args))


def find_keypoint_regressor(args, body_model: BodyModel) -> Path | None:
    """`--keypoint_regressor`, else None where the body brings its own, else the licensed one by name."""
    if args.keypoint_regressor:
        return Path(args.keypoint_regressor)
    if "j17" in body_model.keypoint_regressors:
        return None
    return META_DATA / LICENSED_REGRESSORS.get(args.data_mode, DEFAULT_LICENSED_REGRESSOR)


def name_keypoint_regressor(args, body_model: BodyModel) -> str:
    """Where the keypoint regressor comes from, for people to read."""
    path = find_keypoint_regressor(args, body_model)
    return f"J17 of {body_model.name}" if path is None else path.name


def build_keypoint_regressor(args, body_model: BodyModel) -> Tensor:
    """(17, V), rows in Human3.6M order, from where `find_keypoint_regressor` says."""
    path = find_keypoint_regressor(args, body_model)
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


def load_mean_params(args, body_model: BodyModel) -> tuple[Tensor, Tensor, Tensor]:
    """Where the regressor starts: pose6d (144), betas (10), cam (3)."""
    if args.mean_params == "none":
        pose6d = torch.tensor([1.0, 0, 0, 1, 0, 0]).repeat(24)
        return pose6d, torch.zeros(10), torch.tensor([1.0, 0, 0])
    if not args.mean_params and body_model.mean_params is not None:
        mean = body_model.mean_params
    else:
        path = Path(args.mean_params) if args.mean_params else META_DATA / LICENSED_MEAN_PARAMS
        mean = _load_array(path, "mean parameters", "give an npz with pose, shape and cam by --mean_params, or 'none'")
    shapes = {"pose": 144, "shape": 10, "cam": 3}
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
