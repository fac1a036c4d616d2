"""Turn a .glb of the demo, with its skeleton and motion, into .fbx (or .usd, .usdc, .usda) by Blender.

    blender --background --python scripts/glb_to_fbx.py -- outputs/walk.glb outputs/walk.fbx

Runs inside Blender 4 or later, or with its Python module: pip install bpy; python scripts/glb_to_fbx.py IN.glb OUT.fbx
"""

import argparse
import itertools
import json
import struct
import sys
from pathlib import Path

ENDINGS = (".fbx", ".usd", ".usdc", ".usda")


def main() -> str | None:
    """-> the mistake in one line, if there is one."""
    words = sys.argv[sys.argv.index("--") + 1 :] if "--" in sys.argv else sys.argv[1:]
    parser = argparse.ArgumentParser(
        prog="glb_to_fbx.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("input", type=Path, metavar="IN.glb")
    parser.add_argument("output", type=Path, metavar="OUT.fbx")
    parser.add_argument("--rate", type=float, metavar="N", help="frames per second (default: that of the motion)")
    args = parser.parse_args(words)
    if not args.input.is_file():
        return f"no file {args.input}"
    if args.output.suffix.lower() not in ENDINGS:
        return f"{args.output}: the name must end in {', '.join(ENDINGS)}"
    if not args.output.absolute().parent.is_dir():
        return f"no folder {args.output.parent}"
    if args.rate is not None and not 1 <= args.rate <= 1000:
        return f"--rate {args.rate:g}: give 1 to 1000 frames per second"
    times = key_times(args.input)
    if times is None:
        return f"{args.input} is not a .glb file"
    try:
        import bpy
    except ImportError:
        return "this script runs in Blender: blender --background --python scripts/glb_to_fbx.py -- IN.glb OUT.fbx"
    convert(bpy, args.input, args.output, times, args.rate)
    print(f"wrote {args.output}")
    return None


def key_times(path: Path) -> list[float] | None:
    """Seconds of the key frames of a .glb's longest animated property; [] without motion; None for no .glb."""
    data = path.read_bytes()
    try:
        magic, _, _, size, kind = struct.unpack("<4sIII4s", data[:20])
        document = json.loads(data[20 : 20 + size])
        if magic != b"glTF" or kind != b"JSON":
            return None
        longest = []
        for number in {s["input"] for animation in document.get("animations", ()) for s in animation["samplers"]}:
            accessor = document["accessors"][number]
            start = 28 + size + document["bufferViews"][accessor["bufferView"]]["byteOffset"]
            times = struct.unpack_from(f"<{accessor['count']}f", data, start)
            longest = max(longest, [*times], key=len)
        return longest
    except (struct.error, ValueError, KeyError, TypeError, IndexError):
        return None


def convert(bpy, source: Path, target: Path, times: list[float], rate: float | None):
    """Import, set the frame rate and range, export; metres stay metres and y stays up."""
    bpy.ops.wm.read_factory_settings(use_empty=True)
    scene = bpy.context.scene
    steps = sorted(b - a for a, b in itertools.pairwise(times))
    rate = rate or (1 / steps[len(steps) // 2] if steps else 30)
    scene.render.fps = max(1, round(rate))
    scene.render.fps_base = scene.render.fps / rate
    bpy.ops.import_scene.gltf(filepath=str(source.absolute()), merge_vertices=False)
    scene.frame_start, scene.frame_end = 0, max(1, round(times[-1] * rate)) if times else 1
    if target.suffix.lower() == ".fbx":
        bpy.ops.export_scene.fbx(
            filepath=str(target.absolute()),
            object_types={"EMPTY", "CAMERA", "ARMATURE", "MESH"},
            add_leaf_bones=False,
            bake_anim_use_nla_strips=False,
            bake_anim_use_all_actions=False,
            bake_anim_simplify_factor=0,
            path_mode="COPY",
            embed_textures=True,
            colors_type="LINEAR",
        )
    else:
        bpy.ops.wm.usd_export(filepath=str(target.absolute()), export_animation=bool(times), export_armatures=True)


if __name__ == "__main__":
    mistake = main()
    if mistake:
        print(f"error: {mistake}", file=sys.stderr)
        sys.exit(2)
