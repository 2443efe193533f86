"""Rendered scenes: pictures of rooms and open ground with exact labels, from a seed, drawn with numpy alone.

    scene = render(seed, size=320)         # image, depth, normals, instances, labels, parts, objects, people
    for scene in render_clip(seed, 100):   # the camera moves, people walk

How a picture comes about: layout.py composes a World (surroundings.py, people.py, textures.py) from random
streams (streams.py); trace.py finds what each pixel of the Camera sees among the Primitives; shade.py lights
it; render.py exposes and labels it, with keypoints.py; targets.py derives further labels: boundaries,
saliency, image class, panoptic. dataset.py keeps scenes on disk, splits.py says which seeds are for what.
"""

from argus_edge.train.data.scenes.camera import Camera
from argus_edge.train.data.scenes.render import (
    FRAME_RATE,
    RENDERER_VERSION,
    render,
    render_clip,
    render_normals,
)
from argus_edge.train.data.scenes.scene import (
    DET_CLASSES,
    PART_CLASSES,
    SEG_CLASSES,
    Scene,
    SceneObject,
    ScenePerson,
)

__all__ = [
    "DET_CLASSES",
    "FRAME_RATE",
    "PART_CLASSES",
    "RENDERER_VERSION",
    "SEG_CLASSES",
    "Camera",
    "Scene",
    "SceneObject",
    "ScenePerson",
    "render",
    "render_clip",
    "render_normals",
]
