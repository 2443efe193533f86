"""Rendered surfaces for anomaly detection: textured materials, whole or with one defect, from a seed.

    surface = render_surface(seed, "wood", defective=True, size=320)   # image, mask, category, defect

How a picture comes about: materials.py gives colour and relief of a Sheet, defects.py damages it and says
which pixels, surface.py lights and exposes it.
"""

from argus_edge.train.data.surfaces.defects import DEFECTS
from argus_edge.train.data.surfaces.materials import SURFACE_CATEGORIES
from argus_edge.train.data.surfaces.surface import Surface, render_surface

__all__ = ["DEFECTS", "SURFACE_CATEGORIES", "Surface", "render_surface"]
