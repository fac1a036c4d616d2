"""Convert fetched files to formats that numpy and OpenCV read. scripts/fetch_synthetic_assets.sh calls this script.

python scripts/lib/convert_synthetic_assets.py light SOURCE_FOLDER OUTPUT_FOLDER     # needs OpenEXR
python scripts/lib/convert_synthetic_assets.py people HUMAN_RIG.blend OUTPUT_FOLDER  # needs bpy (Python 3.11)
"""

import base64
import importlib
import sys
import tempfile
from pathlib import Path
from types import ModuleType

import cv2
import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from utils.arguments import output_folder, script_parser
from utils.errors import UserError, exit_on_user_error
from utils.files import make_folder

# Part -> end of the mesh's name in human_rig.blend, texture.
PARTS = {
    "body": ("male1591", "young_lightskinned_male_diffuse.png"),
    "eyes": ("eyes", "brown_eye.png"),
    "hair": ("mhair02", "male02_diffuse_black.png"),
    "tshirt": ("tshirt02", "tshirt02_texture.png"),
    "jeans": ("jeans01", "jeans_basic_diffuse.png"),
    "shoes": ("classic_shoes_lres", "classicshoes_texture_diffuse.png"),
}


def import_or_explain(package: str) -> ModuleType:
    """Import a package that requirements.txt does not have. UserError with the pip command if it is missing."""
    try:
        return importlib.import_module(package)
    except ImportError as error:
        raise UserError(f"this conversion needs the package {package}: pip install {package}") from error


def convert_light(source: Path, output: Path):
    """Environment maps below `source`, as .exr or base64 in .exr.js, -> output/NAME.hdr (Radiance, float RGB)."""
    OpenEXR = import_or_explain("OpenEXR")

    files = sorted([*source.rglob("*.exr"), *source.rglob("*.exr.js")])
    for path in files:
        with tempfile.NamedTemporaryFile(suffix=".exr") as plain:
            data = path.read_bytes()
            if path.suffix == ".js":
                data = base64.b64decode(data.split(b"base64,")[1].split(b"'")[0])
            plain.write(data)
            plain.flush()
            with OpenEXR.File(plain.name) as file:
                rgb = file.channels()["RGB"].pixels[..., :3].astype(np.float32)
        cv2.imwrite(str(output / f"{path.name.split('.')[0]}.hdr"), np.ascontiguousarray(rgb[..., ::-1]))
    print(f"{len(files)} environment maps -> {output}")


def convert_people(blend: Path, output: Path):
    """The dressed human of human_rig.blend -> output/NAME.png (textures) and output/garments.npz.

    garments.npz has for each part `NAME_vertices` (V, 3) in metres (y up, facing +z, left at +x, arms as in the file),
    `NAME_faces` (F, 3), and texture coordinates `NAME_uv` (T, 2), v upwards, with `NAME_uv_faces` (F, 3).
    """
    bpy = import_or_explain("bpy")

    bpy.ops.wm.open_mainfile(filepath=str(blend))
    arrays = {}
    for name, (mesh_name, image_name) in PARTS.items():
        thing = next(o for o in bpy.data.objects if o.type == "MESH" and o.name.endswith(f"-{mesh_name}"))
        mesh = thing.data
        mesh.calc_loop_triangles()
        matrix = np.array(thing.matrix_world)
        points = np.array([vertex.co for vertex in mesh.vertices]) @ matrix[:3, :3].T + matrix[:3, 3]
        uv = np.array([loop.uv for loop in mesh.uv_layers[0].data])
        uv, corner = np.unique(uv.round(6), axis=0, return_inverse=True)
        arrays[f"{name}_vertices"] = points[:, [1, 2, 0]]  # the frame of the file: z up, facing x, left at y
        arrays[f"{name}_faces"] = np.array([triangle.vertices for triangle in mesh.loop_triangles], np.int32)
        arrays[f"{name}_uv"] = uv
        arrays[f"{name}_uv_faces"] = corner.ravel()[[list(t.loops) for t in mesh.loop_triangles]].astype(np.int32)
        (output / f"{name}.png").write_bytes(bpy.data.images[image_name].packed_file.data)
    np.savez_compressed(
        output / "garments.npz",
        **{key: value.astype(np.float32) if value.dtype == np.float64 else value for key, value in arrays.items()},
    )
    print(f"{len(PARTS)} meshes and textures -> {output}")


@exit_on_user_error
def main():
    parser = script_parser(__doc__)
    parser.add_argument("kind", choices=("light", "people"), help="light: environment maps; people: the dressed human")
    parser.add_argument("source", type=Path, help="folder of .exr files, or human_rig.blend")
    parser.add_argument("output", type=output_folder, help="folder to write into")
    args = parser.parse_args()
    if not args.source.exists():
        raise UserError(f"{args.source} does not exist; run scripts/fetch_synthetic_assets.sh")
    make_folder(args.output)
    {"light": convert_light, "people": convert_people}[args.kind](args.source, args.output)


if __name__ == "__main__":
    main()
