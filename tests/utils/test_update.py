"""From losses to weights: what is left out, scaled, clipped and added up; and that no step makes the host wait."""

import copy
import socket
import sys
from contextlib import nullcontext

import pytest
import torch
import torch.multiprocessing as mp
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

import main as program
from models.build import build_model
from tests.helpers.tiny_data import flags_of, write_body
from utils.errors import UserError
from utils.options import parse_args
from utils.process import rank
from utils.train import nonfinite as finite
from utils.train.batches import on_device, split_batch, to_device
from utils.train.distributed import SharedFlag, data_parallel, process_group, unwrap
from utils.train.nonfinite import NonfiniteLog
from utils.train.optimizer import RunningAverage, build_optimizer
from utils.train.run_state import RunState
from utils.train.update import START_SCALE, STEPS_TO_GROW, Update

CPU = torch.device("cpu")
NAN, INF = float("nan"), float("inf")


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2))


def make(scaled=False, clip_grad=0.0, ema=0.9) -> tuple[nn.Module, Update]:
    model = network()
    return model, Update(model, build_optimizer(model, 0.1, 0.01), RunningAverage(model, ema), clip_grad, scaled)


def losses_of(model, seed: int, spoil: float = 0.0, pixel: float | None = None) -> dict:
    x = torch.randn(5, 3, generator=torch.Generator().manual_seed(seed))
    if pixel is not None:
        x[2, 1] = pixel
    value = model(x).square().mean()
    return {"loss": value, "part": value.detach() + spoil}


def content(update: Update) -> dict[str, torch.Tensor]:
    """All that a step may change."""
    state = {f"p{i}": parameter.detach() for i, parameter in enumerate(update.parameters)}
    state |= {f"s{i}{key}": v for i, p in enumerate(update.parameters) for key, v in update.optimizer.state[p].items()}
    state |= {f"a{key}": value for key, value in update.average.module.state_dict().items()}
    return {key: value.clone() for key, value in (state | {"n": update.average.n_averaged}).items()}


@pytest.mark.parametrize("spoil", [NAN, INF])
def test_a_step_that_is_not_finite_has_not_been(spoil):
    """Even where the infinite loss is one that has no gradient."""
    (model, update), (other, without) = make(), make()
    for seed, odd in ((0, False), (1, True), (2, True), (3, False)):
        before = content(update) if odd else None
        update.backward(losses_of(model, seed, spoil if odd else 0.0))
        outcome = update.step()
        assert bool(outcome.applied) is not odd and bool(outcome.nonfinite) is odd
        if odd:
            assert all(torch.equal(value, before[key]) for key, value in content(update).items())
        else:
            without.backward(losses_of(other, seed))
            without.step()
    assert all(torch.equal(value, content(without)[key]) for key, value in content(update).items())
    assert int(update.average.n_averaged) == 2


@pytest.mark.parametrize("scaled", [False, True])
@pytest.mark.parametrize("cause", ["pixel", "overflow"])
def test_a_skipped_step_leaves_batch_norm_as_it_was(scaled, cause):
    """The forward pass changes the statistics first; those of the average and of later steps must not notice."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Tanh(), nn.Linear(4, 4), nn.BatchNorm1d(4))
    other = copy.deepcopy(model)
    update, without = (
        Update(network, build_optimizer(network, 0.1, 0.01), RunningAverage(network, 0.9), 0.0, scaled)
        for network in (model, other)
    )
    for seed in range(4):
        if seed in (1, 3):
            before = {key: value.clone() for key, value in model.state_dict().items()}
            for _ in range(2):  # a batch in two parts changes them twice
                update.backward(losses_of(model, seed, pixel=NAN if cause == "pixel" else None), 0.5)
            assert not torch.equal(model[1].num_batches_tracked, before["1.num_batches_tracked"])
            model[0].weight.grad[0, 0] = INF
            assert not update.step().applied
            assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
            update.scale.mul_(2 if scaled else 1)
        for network, one in ((model, update), (other, without)):
            one.backward(losses_of(network, seed))
            assert one.step().applied
    for mine, expected in ((model, other), (update.average.module, without.average.module)):
        for key, value in mine.state_dict().items():
            assert torch.equal(value, expected.state_dict()[key]), key
    assert int(model[1].num_batches_tracked) == 4

    resumed = Update(model, build_optimizer(model, 0.1, 0.01), RunningAverage(model, 0.9), 0.0, scaled)
    model.load_state_dict(before)
    resumed.load_state_dict(copy.deepcopy(update.state_dict()))
    resumed.backward(losses_of(model, 0, pixel=NAN))
    resumed.step()
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())


@pytest.mark.parametrize("clip_grad", [0.0, 0.05, 1e3])
@pytest.mark.parametrize("scaled", [False, True])
def test_it_is_the_textbook_step(clip_grad, scaled):
    """Adam's plain code after PyTorch's clipping; scaling up and down again changes nothing."""
    model, update = make(scaled, clip_grad)
    plain = network()
    decayed, kept = [plain[0].weight, plain[2].weight], [plain[0].bias, plain[2].bias]
    groups = [{"params": decayed, "weight_decay": 0.01}, {"params": kept, "weight_decay": 0.0}]
    adam = torch.optim.AdamW(groups, lr=0.1, foreach=False)
    for seed in range(20):
        update.backward(losses_of(model, seed))
        update.step()
        adam.zero_grad()
        losses_of(plain, seed)["loss"].backward()
        if clip_grad:
            nn.utils.clip_grad_norm_(plain.parameters(), clip_grad)
        adam.step()
        for a, b in zip(model.parameters(), plain.parameters(), strict=True):
            torch.testing.assert_close(a, b, atol=2e-5, rtol=1e-4)


def test_the_scale_falls_at_an_overflow_and_rises_in_peace():
    model, update = make(scaled=True)
    update.backward(losses_of(model, 0))
    model[0].weight.grad[0, 0] = INF
    outcome = update.step()
    assert not outcome.applied and not outcome.nonfinite and update.scale == START_SCALE / 2
    update.steps_since.fill_(STEPS_TO_GROW - 2)
    for factor in (1, 2, 2):
        update.backward(losses_of(model, 0))
        assert update.step().applied and update.scale == factor * START_SCALE / 2
    for _ in range(20):  # nothing is scaled up any more: this is no overflow
        update.backward(losses_of(model, 0, NAN))
        outcome = update.step()
    assert outcome.nonfinite and update.scale == 1

    other, again = make(scaled=True)
    other.load_state_dict(model.state_dict())
    again.load_state_dict(copy.deepcopy(update.state_dict()))
    for network, one in ((model, update), (other, again)):
        one.backward(losses_of(network, 5))
        one.step()
    assert all(torch.equal(value, content(again)[key]) for key, value in content(update).items())
    assert torch.equal(update.scale, again.scale) and torch.equal(update.steps_since, again.steps_since)


def test_a_checkpoint_of_an_optimizer_without_fused_kernels_goes_on_fused():
    model, update = make()
    old = torch.optim.AdamW(build_optimizer(model, 0.1, 0.01).param_groups, lr=0.1, fused=False)
    for group in old.param_groups:
        group["fused"] = None
    losses_of(model, 0)["loss"].backward()
    old.step()
    update.load_state_dict(update.state_dict() | {"optimizer": old.state_dict()})
    before = content(update)
    update.backward(losses_of(model, 1, NAN))
    update.step()
    assert all(torch.equal(value, before[key]) for key, value in content(update).items())


def test_a_batch_falls_into_parts():
    batch = {"x": torch.arange(14).view(7, 2), "inner": {"y": torch.arange(7)}, "image_id": list("abcdefg")}
    parts = split_batch(batch, 3)
    assert [share for _, share in parts] == pytest.approx([3 / 7, 2 / 7, 2 / 7])
    assert [part["image_id"] for part, _ in parts] == [list("abc"), list("de"), list("fg")]
    assert torch.equal(torch.cat([part["x"] for part, _ in parts]), batch["x"])
    assert torch.equal(torch.cat([part["inner"]["y"] for part, _ in parts]), batch["inner"]["y"])
    assert len(split_batch(batch, 9)) == 7
    assert [len(b["x"]) for b in on_device(iter([batch, batch]), CPU)] == [7, 7]


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    return write_body(tmp_path_factory.mktemp("step"))


def build(place, *flags):
    args = parse_args([*flags_of(place), "--backbone_weights=none", *flags])
    args.smpl_path, args.keypoint_regressor = str(place / "tiny_body.npz"), str(place / "tiny_j17.npy")
    return args, *build_model(args)


def batch_of(size: int, movenet: bool = True) -> dict:
    generator = torch.Generator().manual_seed(0)

    def draw(*shape):
        return torch.randn(size, *shape, generator=generator)

    batch = {"pose": 0.3 * draw(72), "betas": draw(10), "keypoints_2d": draw(24, 3), "keypoints_3d": draw(24, 4)}
    batch |= {f"has_{name}": torch.ones(size, dtype=torch.bool) for name in ("smpl", "keypoints_2d", "keypoints_3d")}
    features = {"map16": draw(200, 14, 14), "map32": draw(344, 7, 7), "pooled": draw(1331), "points": draw(17, 344)}
    features["keypoints"] = draw(17, 3).clamp(-1, 1)
    batch |= {"features": features} if movenet else {"image": draw(3, 224, 224)}
    return batch | {"index": torch.arange(size)}


MOVENET = ("--backbone=movenet", "--num_transformers=2", "--stage_weights", "1", "1", "1")


def gradient(model, criterion, args, batch) -> list[torch.Tensor]:
    update = Update(unwrap(model), build_optimizer(unwrap(model), 1e-3))
    program.add_gradient(model, criterion, batch, update, CPU, args)
    return [parameter.grad for parameter in model.parameters() if parameter.grad is not None]


def without_chance(module: nn.Module) -> nn.Module:
    """In training mode, but for its dropout."""
    for part in module.train().modules():
        if isinstance(part, nn.Dropout):
            part.eval()
    return module


def test_parts_add_up_to_the_batch(place):
    args, model, criterion = build(place, *MOVENET, "--accumulate_steps=3")
    batch = batch_of(8)
    found = gradient(without_chance(model), criterion, args, batch)
    model.zero_grad()
    args.accumulate_steps = 1
    expected = gradient(model, criterion, args, batch)
    scale = max(gradient.abs().max() for gradient in expected)
    for a, b in zip(found, expected, strict=True):
        torch.testing.assert_close(a / scale, b / scale, atol=1e-6, rtol=0)


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_gradients_survive_short_formats(place, precision):
    args, model, criterion = build(place, *MOVENET)
    batch = batch_of(2)
    expected = gradient(without_chance(model), criterion, args, batch)
    model.zero_grad()
    args.precision = precision
    update = Update(model, build_optimizer(model, 1e-3), scaled=precision == "fp16")
    update.scale.clamp_(max=64)
    for _ in range(16):  # of made-up labels the gradient is large: until it fits
        losses, _, outputs = program.add_gradient(model, criterion, batch, update, CPU, args)
        if all(p.grad.isfinite().all() for p in model.parameters() if p.grad is not None):
            break
        assert precision == "fp16" and not update.step().nonfinite
    assert losses["loss"].dtype == outputs["pred_rotmat"].dtype == outputs["pred_vertices"].dtype == torch.float32
    found = [parameter.grad / update.scale for parameter in model.parameters() if parameter.grad is not None]
    for a, b in zip(found, expected, strict=True):
        assert a.dtype == torch.float32 and (a - b).norm() < 0.1 * b.norm() + 1e-4 * max(e.norm() for e in expected)
    assert update.step().applied


def accumulate(process: int, place, port: int, results):
    import os

    environment = {"RANK": process, "LOCAL_RANK": process, "WORLD_SIZE": 2, "MASTER_ADDR": "127.0.0.1"}
    os.environ.update({key: str(value) for key, value in environment.items()}, MASTER_PORT=str(port))
    torch.set_num_threads(1)
    with process_group(CPU):
        torch.manual_seed(0)
        args, model, criterion = build(place, *MOVENET, "--accumulate_steps=2")
        own = split_batch(batch_of(8), 2)[process][0]
        model = data_parallel(without_chance(model))
        found = gradient(model, criterion, args, own)
        flag, flags = SharedFlag(), []
        for step in range(3):
            flags.append(flag(process == 1 and step == 0))
        found = torch.cat([part.flatten() for part in found]).numpy()  # a copy
        if process == 1:
            own["pose"][0] = NAN
        update = Update(model, build_optimizer(model, 1e-3))
        losses, _, _ = program.add_gradient(model, criterion, own, update, CPU, args)
        spoilt = not losses["loss"].isfinite(), not update.step().applied
        results.put((process, found, flags, spoilt))


def test_parts_on_two_processes_add_up_to_the_batch(place, monkeypatch):
    """And a flag of one of them is known to both, a call late; what is not finite in one is left out by both."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    queue = mp.get_context("spawn").SimpleQueue()
    context = mp.spawn(accumulate, args=(place, port, queue), nprocs=2, join=False)
    results = [queue.get() for _ in range(2)]
    context.join()
    torch.manual_seed(0)
    args, model, criterion = build(place, *MOVENET)
    expected = gradient(without_chance(model), criterion, args, batch_of(8))
    expected = torch.cat([part.flatten() for part in expected])
    for process, found, flags, spoilt in results:
        torch.testing.assert_close(torch.from_numpy(found) / expected.abs().max(), expected / expected.abs().max(),
                                   atol=1e-6, rtol=0)  # fmt: skip
        assert flags == [False, True, False] and spoilt == (process == 1, True)


def test_alone_a_flag_is_known_at_once():
    flag = SharedFlag()
    assert flag(None) is False and flag("SIGTERM") is True


class NoWaiting(TorchDispatchMode):
    """Fails where tensors of the host and of the device meet, or a list becomes an index: a GPU would have to be waited
    for. Reading a number of a meta tensor fails by itself. indices: tensors that may be one."""

    def __init__(self, indices=()):
        super().__init__()
        self.indices = {id(tensor) for tensor in indices}

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        given, meta = [*tensors(args), *tensors(kwargs or {})], torch.device("meta")
        devices = {tensor.device for tensor in given if tensor.dim() or tensor.device == meta}
        devices |= {torch.device((kwargs or {}).get("device") or meta)} if devices else set()
        assert len(devices) < 2, f"{function} of tensors on {devices}"
        assert function not in (torch.ops.aten._local_scalar_dense.default, torch.ops.aten.nonzero.default), function
        if function == torch.ops.aten.index.Tensor:
            assert self.indices.issuperset(map(id, tensors(args[1]))), f"{function} of {args[0].shape}"
        return function(*args, **(kwargs or {}))


def tensors(value):
    """All in nested lists and dicts."""
    if isinstance(value, torch.Tensor):
        yield value
    elif isinstance(value, list | tuple | dict):
        for item in value.values() if isinstance(value, dict) else value:
            yield from tensors(item)


def train_a_step(state, criterion, watch, batch, device, args):
    losses, _, _ = program.add_gradient(state.model, criterion, batch, state.update, device, args)
    program.set_lr(state.update.optimizer, 1e-4)
    outcome = state.update.step()
    state.add_losses(losses, outcome)
    watch.add(outcome.nonfinite, state.step, losses, batch)


@pytest.mark.parametrize("backbone", [("--backbone=movenet",), ("--hrnet_type=w18",)])
def test_a_step_never_waits_for_the_device(place, tmp_path, monkeypatch, backbone):
    """The meta device has no numbers at all; whoever asks for one fails."""
    meta = torch.device("meta")
    monkeypatch.setattr(sys.modules["torch.optim.adam"], "_device_dtype_check_for_fused", lambda *_, **__: None)
    monkeypatch.setattr(torch, "autocast", lambda *_, **__: nullcontext())
    monkeypatch.setattr(finite, "fetch", lambda values: None)
    flags = "--clip_grad=1", "--loss_vertices=50", "--num_transformers=2", "--accumulate_steps=2"
    args, model, criterion = build(place, *backbone, *(flags if "movenet" in backbone[0] else flags[:3]))
    model, criterion = model.to(meta).train(), criterion.to(meta).train()
    update = Update(model, build_optimizer(model, 1e-3, 0.01), RunningAverage(model, 0.99), 1.0, scaled=True)
    state, watch = RunState(model, update, 10, 4), NonfiniteLog(tmp_path, 10)
    batch = to_device(batch_of(4, movenet="movenet" in backbone[0]), meta)
    with NoWaiting((*model.buffers(), *criterion.buffers())):
        train_a_step(state, criterion, watch, batch, meta, args)


@pytest.mark.parametrize(
    "wait",
    [
        lambda x: x[:, [0, 2]],
        lambda x: x[:, torch.tensor([0, 2])],
        lambda x: x.index_select(1, torch.tensor([0, 2])),
        lambda x: x * torch.ones(4),
        lambda x: torch.ones(4).to(x.device),
        lambda x: x.new_zeros(()).cpu(),
        lambda x: bool(x[0, 0]),
        lambda x: x.nonzero(),
    ],
)
def test_whoever_waits_is_found(wait):
    with pytest.raises((AssertionError, RuntimeError, NotImplementedError)), NoWaiting():
        wait(torch.ones(3, 4, device="meta"))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
@pytest.mark.parametrize("backbone", [("--backbone=movenet",), ("--hrnet_type=w18",)])
def test_a_step_on_a_gpu_never_synchronises(place, tmp_path, backbone, precision):
    device = torch.device("cuda")
    args, model, criterion = build(
        place, *backbone, "--clip_grad=1", "--accumulate_steps=2", f"--precision={precision}"
    )
    model, criterion = model.to(device).train(), criterion.to(device).train()
    update = Update(model, build_optimizer(model, 1e-3, 0.01), RunningAverage(model, 0.99), 1.0, precision == "fp16")
    state, watch = RunState(model, update, 10, 4), NonfiniteLog(tmp_path, 10)
    batch = batch_of(4, movenet="movenet" in backbone[0])
    batches = [{name: v.pin_memory() if isinstance(v, torch.Tensor) else v for name, v in batch.items()}] * 3
    for step, moved in enumerate(on_device(batches, device)):
        torch.cuda.set_sync_debug_mode("error" if step == 1 else "default")
        try:
            train_a_step(state, criterion, watch, moved, device, args)
        finally:
            torch.cuda.set_sync_debug_mode("default")
    watch.finish()


def test_the_watch_hears_of_a_step_at_the_next(tmp_path):
    watch = NonfiniteLog(tmp_path, 2)
    losses, batch = {"loss": torch.tensor(NAN)}, {"index": torch.tensor([3, 4])}
    for step, odd in enumerate((True, False, True)):
        watch.add(torch.tensor(odd), step, losses, batch)
    assert watch.path.read_text().count("\n") == 1
    watch.add(torch.tensor(True), 3, losses, batch | {"image_id": ["a", "b"]})
    with pytest.raises(UserError, match="2 steps in a row, up to step 3"):
        watch.finish()
    assert watch.path.read_text().splitlines()[-1].endswith('"losses": {"loss": null}, "images": ["a", "b"]}')
    assert rank() == 0


def test_a_resumed_run_has_the_weight_decay_and_rates_of_its_own_flags():
    model, before = network(), network()
    old = Update(before, build_optimizer(before, 0.1, 0.01))
    old.backward(losses_of(before, 0)), old.step()
    now = Update(model, build_optimizer(model, 0.1, 0.5))
    wanted = [group["weight_decay"] for group in now.optimizer.param_groups]
    now.load_state_dict(copy.deepcopy(old.state_dict()))
    assert [group["weight_decay"] for group in now.optimizer.param_groups] == wanted != [0.01] * len(wanted)
    moments = [[own["exp_avg"] for own in update.optimizer.state.values()] for update in (old, now)]
    assert all(torch.equal(a, b) for a, b in zip(*moments, strict=True))
