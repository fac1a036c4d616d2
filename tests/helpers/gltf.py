"""Reads .glb files by pygltflib and the formulas of the glTF 2.0 standard, independently of the writer."""

import numpy as np
from pygltflib import GLTF2
from scipy.spatial.transform import Rotation, Slerp

WIDTHS = {"SCALAR": 1, "VEC2": 2, "VEC3": 3, "VEC4": 4, "MAT4": 16}
KINDS = {5121: np.uint8, 5125: np.uint32, 5126: np.float32}


def read_accessor(gltf: GLTF2, index: int) -> np.ndarray:
    """-> (N, width of the accessor's type)."""
    accessor = gltf.accessors[index]
    view = gltf.bufferViews[accessor.bufferView]
    width, kind = WIDTHS[accessor.type], KINDS[accessor.componentType]
    start = view.byteOffset + (accessor.byteOffset or 0)
    return np.frombuffer(gltf.binary_blob(), kind, accessor.count * width, start).reshape(accessor.count, width)


class Reader:
    """A scene at a time of its animation."""

    def __init__(self, path, time: float = 0.0):
        self.gltf = GLTF2().load(str(path))
        self.names = {node.name: number for number, node in enumerate(self.gltf.nodes)}
        moved = self._animated(time)
        self.world: dict[int, np.ndarray] = {}
        for root in self.gltf.scenes[self.gltf.scene].nodes:
            self._visit(root, np.eye(4), moved)

    def _animated(self, time: float) -> dict[tuple[int, str], np.ndarray]:
        """(node, property) -> value at the time, interpolated as the standard says."""
        moved = {}
        for animation in self.gltf.animations:
            for channel in animation.channels:
                sampler = animation.samplers[channel.sampler]
                times, values = read_accessor(self.gltf, sampler.input)[:, 0], read_accessor(self.gltf, sampler.output)
                now = np.clip(time, times[0], times[-1])
                if sampler.interpolation == "STEP":
                    value = values[np.searchsorted(times, now, side="right") - 1]
                elif channel.target.path == "rotation" and len(times) > 1:
                    value = Slerp(times, Rotation.from_quat(values))(now).as_quat()
                else:
                    value = np.array([np.interp(now, times, column) for column in values.T])
                moved[channel.target.node, channel.target.path] = value
        return moved

    def _visit(self, number: int, above: np.ndarray, moved: dict):
        node = self.gltf.nodes[number]
        place, turn, size = (
            moved.get((number, name), getattr(node, name) if getattr(node, name) is not None else default)
            for name, default in (("translation", (0, 0, 0)), ("rotation", (0, 0, 0, 1)), ("scale", (1, 1, 1)))
        )
        local = np.eye(4)
        local[:3, :3] = Rotation.from_quat(turn).as_matrix() * np.asarray(size)
        local[:3, 3] = place
        self.world[number] = above @ local
        for child in node.children or ():
            self._visit(child, self.world[number], moved)

    def vertices(self, name: str) -> np.ndarray:
        """(V, 3) in the world, of the node with this name or of its child that has a mesh."""
        number = self.names[name]
        node = self.gltf.nodes[number]
        if node.mesh is None:
            number = next(child for child in node.children if self.gltf.nodes[child].mesh is not None)
            node = self.gltf.nodes[number]
        attributes = self.gltf.meshes[node.mesh].primitives[0].attributes
        points = read_accessor(self.gltf, attributes.POSITION)
        points = np.column_stack((points, np.ones(len(points))))
        if node.skin is None:
            return (points @ self.world[number].T)[:, :3]
        skin = self.gltf.skins[node.skin]
        inverse = read_accessor(self.gltf, skin.inverseBindMatrices).reshape(-1, 4, 4).swapaxes(1, 2)
        matrices = np.stack([self.world[joint] for joint in skin.joints]) @ inverse
        moved = np.zeros((len(points), 4))
        for joints, weights in (
            (attributes.JOINTS_0, attributes.WEIGHTS_0),
            (attributes.JOINTS_1, attributes.WEIGHTS_1),
        ):
            for j, w in zip(read_accessor(self.gltf, joints).T, read_accessor(self.gltf, weights).T, strict=True):
                moved += w[:, None] * (matrices[j] @ points[..., None])[..., 0]
        return moved[:, :3]

    def project(self, points: np.ndarray, height: int, width: int) -> np.ndarray:
        """Points (N, 3) in the world through the scene's camera -> (N, 2), pixels with whole numbers at their centres.

        By the projection matrix of the standard, whose x and y go from -1 to 1 between the edges of the picture.
        """
        (number,) = (i for i, node in enumerate(self.gltf.nodes) if node.camera is not None)
        lens = self.gltf.cameras[self.gltf.nodes[number].camera].perspective
        view = np.linalg.inv(self.world[number])
        seen = np.column_stack((points, np.ones(len(points)))) @ view.T
        near, far, cot = lens.znear, lens.zfar, 1 / np.tan(lens.yfov / 2)
        matrix = np.zeros((4, 4))
        matrix[0, 0], matrix[1, 1] = cot / lens.aspectRatio, cot
        matrix[2, 2:], matrix[3, 2] = ((far + near) / (near - far), 2 * far * near / (near - far)), -1
        clip = seen @ matrix.T
        assert (np.abs(clip[:, 2]) < clip[:, 3]).all()  # between the near and the far plane
        x, y = (clip[:, :2] / clip[:, 3:]).T
        return np.column_stack(((x + 1) / 2 * width - 0.5, (1 - y) / 2 * height - 0.5))

    def picture(self, name: str) -> bytes:
        """The file that textures the mesh of a node."""
        node = self.gltf.nodes[self.names[name]]
        material = self.gltf.materials[self.gltf.meshes[node.mesh].primitives[0].material]
        texture = self.gltf.textures[material.pbrMetallicRoughness.baseColorTexture.index]
        view = self.gltf.bufferViews[self.gltf.images[texture.source].bufferView]
        return self.gltf.binary_blob()[view.byteOffset : view.byteOffset + view.byteLength]
