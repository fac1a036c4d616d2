"""Exported files give the outputs of the network for any batch; a file that does not is not written."""

import numpy as np
import pytest
import torch

from models.build import build_model
from scripts import export_model
from utils.errors import UserError
from utils.options import get_args_parser


@pytest.fixture(scope="module")
def small_network():
    torch.manual_seed(0)
    flags = ["--backbone=movenet", "--num_transformers=1", "--mean_params=none"]
    return build_model(get_args_parser().parse_args(flags))[0].eval()


def test_exported_program_takes_any_batch(small_network, tmp_path):
    path = tmp_path / "network.pt2"
    differences = export_model.export(small_network, path)
    assert [*differences] == ["vertices", "joints", "rotmat", "betas", "camera", "keypoints"]
    assert max(differences.values()) < 1e-3
    image = torch.randn(5, 3, 224, 224)
    with torch.no_grad():
        found, expected = torch.export.load(path).module()(image), small_network(image)
    for value, name in zip(found, export_model.OUTPUTS.values(), strict=True):
        torch.testing.assert_close(value, expected[name], atol=1e-4, rtol=1e-4)
    assert [p.name for p in tmp_path.iterdir()] == ["network.pt2"]


def test_the_free_dimension_of_onnx_is_called_batch(tmp_path):
    onnx = pytest.importorskip("onnx")

    class Network(torch.nn.Module):
        def forward(self, image):
            means = image.mean((2, 3))
            return tuple(means + number for number in range(len(export_model.OUTPUTS)))

    free = {"image": {0: torch.export.Dim("batch", min=1, max=64)}}
    program = torch.export.export(Network(), (torch.zeros(2, 3, 8, 8),), dynamic_shapes=free)
    run = export_model.write_onnx(program, tmp_path / "network.onnx")
    for count in (1, 5):
        assert [output.shape for output in run(torch.zeros(count, 3, 8, 8))] == [(count, 3)] * 6
    graph = onnx.load(tmp_path / "network.onnx").graph
    assert [value.name for value in graph.input] == ["image"]
    assert [value.name for value in graph.output] == [*export_model.OUTPUTS]
    for value in (*graph.input, *graph.output):
        assert value.type.tensor_type.shape.dim[0].dim_param == "batch"


@pytest.mark.parametrize("ending", export_model.FORMATS)
def test_a_file_that_disagrees_is_not_left(small_network, tmp_path, monkeypatch, ending):
    def write_wrong(program, path):
        path.write_bytes(b"some network")
        return lambda images: [np.full((len(images), 1, 3), np.nan, np.float32)] * 6

    monkeypatch.setattr(export_model, f"write_{ending[1:]}", write_wrong)
    monkeypatch.setattr(torch.export, "export", lambda *args, **kwargs: None)
    monkeypatch.setattr(export_model, "NamedOutputs", lambda network: torch.nn.Module())
    monkeypatch.setattr(export_model, "compare", lambda *_: {"vertices": 0.0, "camera": float("nan")})
    with pytest.raises(UserError, match=r"not written: .* camera by nan"):
        export_model.export(small_network, tmp_path / f"network{ending}")
    assert not [*tmp_path.iterdir()]


def test_differences_are_the_largest_over_batches():
    images = torch.zeros(3, 1)
    network = lambda x: [torch.zeros(len(x), 2)] * 6  # noqa: E731
    found = export_model.compare(lambda x: [np.full((len(x), 2), 0.1 * len(x))] * 6, network, images)
    assert found == pytest.approx(dict.fromkeys(export_model.OUTPUTS, 0.3))
    for bad in (1, 3):
        found = export_model.compare(
            lambda x, bad=bad: [np.full(1, np.nan if len(x) == bad else 0)] * 6, network, images
        )
        assert np.isnan(list(found.values())).all()


@pytest.mark.parametrize(
    ("flags", "message"),
    [(["--output", "a.pth"], "must end in .onnx or .pt2"), (["--output", "nowhere/a.onnx"], "does not exist")],
)
def test_flags_that_cannot_work(monkeypatch, capsys, flags, message):
    monkeypatch.setattr("sys.argv", ["export_model.py", *flags])
    with pytest.raises(SystemExit) as stop:
        export_model.main()
    error = capsys.readouterr().err
    assert stop.value.code == 2 and message in error and error.count("\n") == 1
