"""Pictures of meshes."""

from utils.render.mesh import overlay, render_mesh

__all__ = ["overlay", "render_mesh"]
