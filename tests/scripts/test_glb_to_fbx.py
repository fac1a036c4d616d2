"""scripts/glb_to_fbx.py: mistakes anywhere, the conversion in Blender's Python module."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from models.body_model import load_body_model
from tests.helpers.gltf import Reader
from utils.export.meshes import save_mesh
from utils.export.rig import Motion, RestBody, save_rigged_glb
from utils.paths import OPEN_BODY, ROOT

SCRIPT = ROOT / "scripts" / "glb_to_fbx.py"
READ = """
import json, sys
import bpy
bpy.ops.wm.read_factory_settings(use_empty=True)
path, output = sys.argv[-2:]
bpy.ops.import_scene.fbx(filepath=path) if path.endswith(".fbx") else bpy.ops.wm.usd_import(filepath=path)
rig = next(o for o in bpy.data.objects if o.type == "ARMATURE")
scene, places = bpy.context.scene, []
for frame in range(scene.frame_start, scene.frame_end + 1):
    scene.frame_set(frame)
    head = rig.pose.bones["L_wrist"].head
    places.append(list(rig.matrix_world @ head))
json.dump({"bones": [b.name for b in rig.pose.bones], "places": places, "fps": scene.render.fps}, open(output, "w"))
"""


@pytest.fixture
def rig(tmp_path):
    """A box with the skeleton of 24 joints, which moves and turns its left shoulder."""
    model = load_body_model(OPEN_BODY)
    vertices, joints = model(torch.eye(3).expand(1, 24, 3, 3), torch.zeros(1, 10))
    rotmat = np.tile(np.eye(3), (5, 24, 1, 1))
    rotmat[:, 0] = np.diag((1, -1, -1))
    rotmat[:, 16] = Rotation.from_euler("z", 20 * np.arange(5)[:, None], degrees=True).as_matrix()
    motion = Motion(rotmat, np.linspace((0, 0, 4), (0.4, 0, 4), 5), np.arange(5) / 25)
    body = RestBody(vertices[0].numpy(), joints[0].numpy(), model.weights.numpy(), model.faces)
    save_rigged_glb(tmp_path / "walk.glb", body, motion)
    return tmp_path / "walk.glb"


def run(python, *words):
    return subprocess.run([python, *map(str, words)], capture_output=True, text=True, timeout=600)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("none.glb", "out.fbx"), "no file none.glb"),
        ((SCRIPT, "out.fbx"), "is not a .glb file"),
        ((SCRIPT, "out.txt"), "must end in .fbx"),
        ((SCRIPT, "missing/out.fbx"), "no folder missing"),
        ((SCRIPT, "out.fbx", "--rate", "0"), "give 1 to 1000"),
    ],
)
def test_mistakes_are_one_line(words, message):
    result = run(sys.executable, SCRIPT, "--", *words)
    assert result.returncode == 2 and message in result.stderr and result.stderr.count("\n") == 1


def test_without_blender_it_says_how_to_run_it(tmp_path):
    save_mesh(tmp_path / "a.glb", np.eye(3), np.array([[0, 1, 2]]))
    if run(sys.executable, "-c", "import bpy").returncode:
        result = run(sys.executable, SCRIPT, tmp_path / "a.glb", tmp_path / "a.fbx")
        assert result.returncode == 2 and "blender --background" in result.stderr


@pytest.mark.parametrize("ending", ["fbx", "usdc"])
def test_blender_writes_the_motion(rig, tmp_path, ending):
    python = os.environ.get("BLENDER_PYTHON", sys.executable)
    if run(python, "-c", "import bpy").returncode:
        pytest.skip("needs Blender: pip install bpy into a virtual environment and set BLENDER_PYTHON to its python")
    result = run(python, SCRIPT, "--", rig, tmp_path / f"walk.{ending}")
    assert result.returncode == 0, result.stdout + result.stderr
    result = run(python, "-c", READ, tmp_path / f"walk.{ending}", tmp_path / "read.json")
    assert result.returncode == 0, result.stdout + result.stderr
    read = json.loads((tmp_path / "read.json").read_text())
    scenes = [Reader(rig, frame / 25 + 1e-6) for frame in range(5)]
    wrists = np.array([scene.world[scene.names["L_wrist"]][:3, 3] for scene in scenes])
    wanted = wrists[:, [0, 2, 1]] * (1, -1, 1)  # Blender has z up
    assert len(read["bones"]) == 24 and (ending != "fbx" or read["fps"] == 25)  # a USD reader keeps its own rate
    np.testing.assert_allclose(np.array(read["places"])[:5], wanted, atol=1e-3)
