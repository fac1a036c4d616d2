"""Pictures of meshes."""

from utils.render.mesh import RenderOptions, overlay, render_mesh

__all__ = ["RenderOptions", "overlay", "render_mesh"]
