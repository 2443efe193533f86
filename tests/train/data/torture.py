"""Small data sets with everything that can be wrong, and for each thing what must become of it.

Each function builds one folder in a published layout, with files outside of it that nothing may reach.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

import numpy as np
from PIL import Image

from tests.train.data.torture_files import (
    SIZE,
    Fate,
    Torture,
    encoded,
    label_png,
    picture,
    png,
    put,
    put_odd_entries,
    put_outside,
    put_pictures,
    turned,
    used,
)
from tests.train.data.torture_lists import coco, yolo, yolo_list

# --- folders of classes ------------------------------------------------------------------------------------


def imagenet(folder: Path) -> Torture:
    """val/CLASS/*.JPEG."""
    root = folder / "imagenet"
    cats = root / "val" / "n02123045"
    _, fates = put_pictures(cats)
    fates += put_odd_entries(cats, put_outside(root))
    put(root / "val" / "n02084071" / "ILSVRC2012_val_00000001.JPEG", encoded(picture()))
    put(root / "val" / "n02084071" / "notes.txt", "no picture")
    put(root / "val" / ".cache" / "a.jpg", encoded(picture()))
    put(root / "train" / "n02123045" / "a.JPEG", encoded(picture()))
    put(root / "train" / "n02084071" / "a.JPEG", encoded(picture()))
    fates += used("ILSVRC2012_val_00000001.JPEG")
    return Torture(f"imagenet:{root}", root, "val", ("cls",), tuple(fates), None)


# --- maps --------------------------------------------------------------------------------------------------


OBJECT_INFO: Final = "\n".join(
    ["Idx\tRatio\tTrain\tVal\tStuff\tName", *(f"{i}\t0.1\t9\t9\t1\tname {i}, other" for i in range(1, 151))]
)


def ade20k(folder: Path) -> Torture:
    """ADE20K of the challenge: images/validation/*.jpg, annotations/validation/*.png, 0 = not labelled."""
    root = folder / "ade20k"
    put(root / "objectInfo150.txt", OBJECT_INFO)
    fates = _put_pairs(root / "images" / "validation", root / "annotations" / "validation", last=150)
    return Torture(f"ade20k:{root}", root, "val", ("seg",), tuple(fates), None, not_listed=1)


def maps(folder: Path) -> Torture:
    """CamVid's layout: images/val/*.jpg, labels/val/*.png and the names of the classes."""
    root = folder / "maps"
    put(
        root / "classes.txt", b"\xef\xbb\xbf" + "\r\n".join(f"class {i}" for i in range(4)).encode() + b"\r\n"
    )
    fates = _put_pairs(root / "images" / "val", root / "labels" / "val", last=3)
    return Torture(f"maps:{root}", root, "val", ("seg",), tuple(fates), None, not_listed=1)


def _put_pairs(pictures: Path, label_maps: Path, last: int) -> list[Fate]:
    """Pictures and label maps of the same stem; `last` is the greatest value of a class."""
    usual = np.full(SIZE, 3, np.uint8)
    names, fates = put_pictures(pictures)
    fates += put_odd_entries(pictures, put_outside(pictures.parents[1]))
    for name in (*names, "link.jpg", "nowhere.jpg", "loop.jpg"):
        put((label_maps / name).with_suffix(".png"), label_png(usual))
    palette = Image.fromarray(usual)
    palette.putpalette(list(range(256)) * 3)
    for stem, content in {
        "usual": label_png(usual),
        "sixteen": label_png(usual.astype(np.uint16)),
        "greatest": label_png(np.full(SIZE, last, np.uint8)),
        "of-palette": encoded(palette, "PNG", transparency=3),
        "two-bits": png(SIZE[1], SIZE[0], 2, 0, (b"\0" + b"\xff" * (SIZE[1] // 4)) * SIZE[0]),
        "see-through": encoded(Image.fromarray(usual).convert("LA"), "PNG"),
    }.items():
        put(pictures / f"{stem}.jpg", encoded(picture()))
        put(label_maps / f"{stem}.png", content)
        fates.append(Fate(f"/{stem}.jpg"))
    put(pictures / "unturned.jpg", turned(6, *SIZE))
    put(label_maps / "unturned.png", label_png(usual))
    fates.append(Fate("unturned.jpg"))
    for stem, (map_content, words) in {
        "other-size": (label_png(usual[:20, :30]), "20x30"),
        "map-cut": (label_png(np.random.default_rng(0).integers(0, 4, SIZE, np.uint8))[:-100], "cut off"),
        "map-zero": (b"", "empty"),
        "map-page": (b"<!DOCTYPE html>", "not a picture"),
        "map-colours": (encoded(picture(), "PNG"), "colours"),
        "map-values": (label_png(usual + np.uint8(197)), "200"),
        "map-deep": (label_png(np.full(SIZE, 40_000, np.uint16)), "40000"),
        "map-deep-colours": (png(SIZE[1], SIZE[0], 16, 2, (b"\0" + bytes(6 * SIZE[1])) * SIZE[0]), "16 bits"),
        "map-inks": (encoded(Image.new("CMYK", SIZE[::-1]), "TIFF"), "CMYK"),
        "no-map": (None, "no label map|No such file"),
    }.items():
        put(pictures / f"{stem}.jpg", encoded(picture()))
        if map_content is not None:
            put(label_maps / f"{stem}.png", map_content)
        fates.append(Fate(f"/{stem}.", "image", words))
    put(label_maps / "orphan.png", label_png(usual))
    fates.append(Fate("/orphan.png", "annotation", "picture"))
    put(pictures / "twin.jpg", encoded(picture()))
    put(pictures / "twin.png", encoded(picture(), "PNG"))
    put(label_maps / "twin.png", label_png(usual))
    put(label_maps / "._twin.png", b"\0\5\x16\7")
    return [*fates, Fate("/twin.jpg"), Fate("/twin.png", "image", "same name")]


def mvtec(folder: Path) -> Torture:
    """CATEGORY/{train/good, test/good, test/DEFECT, ground_truth/DEFECT}."""
    root = folder / "mvtec"
    bolt = root / "bolt"
    put(bolt / "train" / "good" / "000.png", encoded(picture(), "PNG"))
    _, fates = put_pictures(bolt / "test" / "good")
    fates += put_odd_entries(bolt / "test" / "good", put_outside(root))
    spot = np.zeros(SIZE, np.uint8)
    spot[10:20, 10:20] = 255
    for stem, (content, words) in {
        "usual": (label_png(spot), None),
        "one-bit": (label_png(spot > 0), None),
        "other-size": (label_png(spot[:20, :30]), "20x30"),
        "mask-cut": (label_png(np.random.default_rng(0).integers(0, 2, SIZE, np.uint8))[:-100], "cut off"),
        "mask-zero": (b"", "empty"),
        "mask-colours": (encoded(picture(), "PNG"), "colours"),
        "mask-black": (label_png(0 * spot), "empty"),  # a defect without a place
        "no-mask": (None, "no mask"),
    }.items():
        put(bolt / "test" / "dent" / f"{stem}.png", encoded(picture(), "PNG"))
        if content is not None:
            put(bolt / "ground_truth" / "dent" / f"{stem}_mask.png", content)
        fates.append(Fate(f"/{stem}.png") if words is None else Fate(f"/{stem}", "image", words))
    put(bolt / "ground_truth" / "dent" / "orphan_mask.png", label_png(spot))
    fates.append(Fate("orphan_mask.png", "annotation", "no picture"))
    put(bolt / "test" / "dent" / ".DS_Store", b"\0\0\0\1Bud1")
    put(root / "license.txt", "not a category")
    (root / "empty folder").mkdir()
    return Torture(f"mvtec:{root}", root, "test", ("anom",), tuple(fates), None)


TORTURES: Final[Sequence[Callable[[Path], Torture]]] = (coco, yolo, yolo_list, imagenet, ade20k, maps, mvtec)
