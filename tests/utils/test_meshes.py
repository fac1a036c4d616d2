"""Meshes as other programs read them."""

import numpy as np
import pytest
import trimesh
from pygltflib import GLTF2

from utils.export.gltf import vertex_normals
from utils.export.meshes import save_mesh
from utils.render.colors import LEFT, MIDDLE, RIGHT, part_colors
from utils.skeleton import SMPL_JOINTS


@pytest.fixture
def ball():
    """A sphere of radius 1 about (0.5, -1, 3), camera frame; each vertex has a colour of its own."""
    sphere = trimesh.creation.icosphere(subdivisions=2)
    colors = np.random.default_rng(0).integers(0, 256, (len(sphere.vertices), 3), np.uint8)
    return sphere.vertices + (0.5, -1, 3), sphere.faces, colors


@pytest.mark.parametrize("colored", [True, False])
@pytest.mark.parametrize("suffix", [".obj", ".ply", ".glb"])
def test_an_independent_reader_sees_the_same_mesh_upright(tmp_path, ball, suffix, colored):
    vertices, faces, colors = ball
    save_mesh(tmp_path / f"ball{suffix}", vertices, faces, colors if colored else None)
    mesh = trimesh.load(tmp_path / f"ball{suffix}", process=False, force="mesh")
    np.testing.assert_allclose(mesh.vertices, vertices * (1, -1, -1), atol=1e-6)
    np.testing.assert_array_equal(mesh.faces, faces)
    assert mesh.volume > 0  # the faces look outwards
    if colored and suffix != ".glb":  # trimesh takes no vertex colours from .glb files with a material
        np.testing.assert_allclose(np.asarray(mesh.visual.vertex_colors)[:, :3], colors, atol=1)


def test_the_colours_of_a_glb_are_linear_light(tmp_path, ball):
    vertices, faces, colors = ball
    save_mesh(tmp_path / "ball.glb", vertices, faces, colors)
    gltf = GLTF2().load(str(tmp_path / "ball.glb"))
    accessor = gltf.accessors[gltf.meshes[0].primitives[0].attributes.COLOR_0]
    start = gltf.bufferViews[accessor.bufferView].byteOffset
    stored = np.frombuffer(gltf.binary_blob(), np.uint8, 4 * accessor.count, start).reshape(-1, 4)
    np.testing.assert_allclose(stored[:, :3] / 255, (colors / 255) ** 2.2, atol=0.003)
    assert accessor.normalized and (stored[:, 3] == 255).all()


def test_an_unknown_suffix_is_a_mistake_of_the_program(tmp_path, ball):
    with pytest.raises(KeyError):
        save_mesh(tmp_path / "ball.stl", *ball)


def test_normals_of_a_ball_point_outwards(ball):
    vertices, faces, _ = ball
    np.testing.assert_allclose(vertex_normals(vertices, faces), vertices - (0.5, -1, 3), atol=0.03)


def test_a_vertex_without_faces_has_a_normal_all_the_same():
    assert np.isfinite(vertex_normals(np.eye(3), np.zeros((0, 3), int))).all()


def test_left_and_right_have_their_colours():
    colors = part_colors(np.eye(24)).tolist()
    expected = {"L": LEFT, "R": RIGHT}
    assert colors == [list(expected.get(name[0] if name[1] == "_" else "", MIDDLE)) for name in SMPL_JOINTS]
