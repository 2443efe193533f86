"""Which layouts scenes can be written in."""

from __future__ import annotations

from typing import Final

from argus_edge.train.data.layouts.ade20k import ADE20K
from argus_edge.train.data.layouts.coco import COCO
from argus_edge.train.data.layouts.imagenet import IMAGENET
from argus_edge.train.data.layouts.layout import Layout
from argus_edge.train.data.layouts.mvtec import MVTEC
from argus_edge.train.data.layouts.nyuv2 import NYUV2
from argus_edge.train.data.layouts.pascal import PASCAL
from argus_edge.train.data.layouts.yolo import YOLO

# A layout's name on the command line, which is its folder -> how scenes get into it.
SCENE_LAYOUTS: Final[dict[str, Layout]] = {
    "coco": COCO,
    "ade20k": ADE20K,
    "imagenet": IMAGENET,
    "nyuv2": NYUV2,
    "pascal": PASCAL,
    "yolo": YOLO,
}
LAYOUT_NAMES: Final = (*SCENE_LAYOUTS, MVTEC)
