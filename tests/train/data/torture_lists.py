"""COCO and YOLO data sets with everything that can be wrong in their lists of objects."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

from tests.train.data.torture_files import (
    SIZE,
    Fate,
    Torture,
    encoded,
    picture,
    put,
    put_odd_entries,
    put_outside,
    put_pictures,
    sound_pictures,
    turned,
    used,
)

GOOD_POLYGON: Final = [10, 10, 30, 10, 30, 25, 10, 25]
PIXELS: Final = SIZE[0] * SIZE[1]


def coco(folder: Path) -> Torture:
    """annotations/instances_val2017.json and val2017/."""
    root = folder / "coco"
    images, fates = _coco_images(root)
    annotations, lost, count = _coco_annotations()
    categories = [
        {"id": 1, "name": "cell"},
        {"id": 7, "name": "nucleus"},
        {"id": 7, "name": "again"},
        {"id": 9, "name": ""},
        {"name": "no id"},
    ]
    lost += [
        Fate("category 7", "annotation", "before|twice|duplicate"),
        Fate("category 9", "annotation", "name"),
        Fate("category None", "annotation", "id"),
    ]
    found = {"images": images, "annotations": annotations, "categories": categories}
    put(root / "annotations" / "instances_val2017.json", b"\xef\xbb\xbf" + json.dumps(found).encode())
    return Torture(f"coco:{root}", root, "val", ("det", "inst"), (*fates, *lost), count)


def _coco_images(root: Path) -> tuple[list[dict[str, Any]], list[Fate]]:
    """Entries of `images`; the first one, of id 1, is sound. Fates of all."""
    pictures = root / "val2017"
    secret = put_outside(root)
    names, fates = put_pictures(pictures)
    put(pictures / "good.jpg", encoded(picture()))
    put(pictures / "nested" / "deep" / "good.jpg", encoded(picture()))
    put(pictures / "dot.png", encoded(picture(1, 1), "PNG"))
    put(pictures / "line.png", encoded(picture(1, 64), "PNG"))
    put(pictures / "unturned.jpg", turned(6, *SIZE))
    put(pictures / "other-size.jpg", encoded(picture(20, 30)))
    put(pictures / "not-listed.jpg", encoded(picture()))
    (pictures / "folder.jpg").mkdir()
    (pictures / "link.jpg").symlink_to(secret)
    (pictures / "nowhere.jpg").symlink_to(root / "is-not-there.jpg")
    height, width = SIZE
    usual = {"height": height, "width": width}
    images: list[dict[str, Any]] = [{"id": 1, "file_name": "good.jpg", **usual}]
    images += [{"id": 100 + i, "file_name": name, **usual} for i, name in enumerate(names)]
    fates = [Fate("good.jpg"), *fates]

    def add(key: Any, name: Any, size: tuple[Any, Any], lost: str | None = None, where: str = "") -> None:
        images.append({"id": key, "file_name": name, "height": size[0], "width": size[1]})
        if lost is None:
            fates.append(Fate(where or name))
        else:
            fates.append(Fate(where or f"image {key} ", "image", lost))

    add(2, "nested/deep/good.jpg", SIZE)
    add(3, "dot.png", (1, 1))
    add(4, "line.png", (1, 64))
    add(5, "unturned.jpg", SIZE)
    add(6, "link.jpg", SIZE)
    add(20, "other-size.jpg", SIZE, "20x30.*48x64", "/other-size.jpg")
    add(21, "is-not-there.jpg", SIZE, "No such file", "/is-not-there.jpg")
    add(22, "folder.jpg", SIZE, "folder", "/folder.jpg")
    add(23, "nowhere.jpg", SIZE, "No such file", "/nowhere.jpg")
    add(24, "../../outside/secret.jpg", SIZE, "leads out")
    add(25, str(secret), SIZE, "leads out")
    add(26, "..\\..\\outside\\secret.jpg", SIZE, "leads out")
    add(27, "C:\\secret.jpg", SIZE, "leads out")
    add(28, "good.jpg\0.png", SIZE, "file_name")
    add(29, "\ud83d.jpg", SIZE, "file_name")
    add(30, None, SIZE, "file_name")
    add(31, "good.jpg", SIZE, "before")
    add(1, "dot.png", SIZE, "before", "image 1 (entry")
    add(None, "link.jpg", SIZE, "id", "image None ")
    add(32, "is-not-there-2.jpg", (1e308, -5), "size")
    add(33, "x" * 5000 + ".jpg", SIZE, "too long", "image 33 ")
    return images, fates


def _coco_annotations() -> tuple[list[Any], list[Fate], int]:
    """Entries of `annotations`, the fates of those lost as a whole or in part, and how many are used."""
    box, all_ones = [10, 10, 20, 15], [0, PIXELS]
    one_pixel, line = {"size": [1, 1], "counts": [0, 1]}, {"size": [1, 64], "counts": [3, 9, 52]}
    sound: list[dict[str, Any]] = [
        {"segmentation": [GOOD_POLYGON]},
        {"segmentation": [GOOD_POLYGON, [40, 5, 50, 5, 45, 12]], "category_id": 7},
        {"segmentation": {"size": list(SIZE), "counts": all_ones}, "iscrowd": 1},
        {"bbox": [-5, -5, 1000, 20]},  # partly outside, as its owner meant it
        {"segmentation": [[-3, -3, 66, -3, 66, 20, -3, 20]]},
        {"image_id": 3, "bbox": [0, 0, 1, 1], "segmentation": one_pixel},
        {"image_id": 4, "bbox": [3, 0, 9, 1], "segmentation": line},
        {"id": 18446744073709551617},
    ]
    maskless: list[tuple[dict[str, Any], str]] = [
        ({"segmentation": None}, "no mask"),
        ({"segmentation": []}, "no mask"),
        ({"segmentation": [[float("nan"), 10, 30, 10, 30, 25]]}, "finite"),
        ({"segmentation": [[10, 10, 30, 10]]}, "three points"),
        ({"segmentation": [[10, 10, 30, 10, 30, 25, 7]]}, "polygon"),
        ({"segmentation": [["a", "b", "c", "d", "e", "f"]]}, "numbers"),
        ({"segmentation": [[10, 10, 1e308, 10, 30, 25]]}, "polygon"),
        ({"segmentation": "polygon"}, "segmentation"),
        ({"segmentation": {"size": [20, 30], "counts": [600]}}, "size"),
        ({"segmentation": {"size": list(SIZE), "counts": [5, 5]}}, "run-length"),
        ({"segmentation": {"size": list(SIZE), "counts": [-5, PIXELS + 5]}}, "run-length"),
        ({"segmentation": {"size": list(SIZE), "counts": [2**62] * 4 + [PIXELS]}}, "run-length"),
        ({"segmentation": {"size": list(SIZE), "counts": [1e308, 5]}}, "run-length"),
        ({"segmentation": {"size": list(SIZE), "counts": [float("nan")]}}, "run-length"),
        ({"segmentation": {"size": list(SIZE), "counts": "what?\n\0é"}}, "run-length"),
        ({"segmentation": {"size": list(SIZE), "counts": "o" * 5000}}, "run-length"),
        ({"segmentation": {"size": list(SIZE)}}, "run-length"),
    ]
    broken: list[tuple[dict[str, Any], str]] = [
        ({"bbox": [100, 10, 20, 15]}, "outside"),
        ({"bbox": [30, 20, -10, -10]}, "area"),
        ({"bbox": [10, 10, 0, 5]}, "area"),
        ({"bbox": [float("nan"), 10, 20, 15]}, "finite"),
        ({"bbox": [10, 10, float("inf"), 15]}, "finite"),
        ({"bbox": [1e308, 1e308, 1e308, 1e308]}, "far from"),
        ({"bbox": [-1e200, 0, 1e201, 9]}, "far from"),
        ({"bbox": [10**400, 10, 20, 15]}, "four numbers"),
        ({"bbox": [10, 10, 20]}, "four numbers"),
        ({"bbox": "10 10 20 15"}, "four numbers"),
        ({"bbox": None}, "box"),
        ({"category_id": 4}, "category"),
        ({"category_id": 9}, "category"),  # the one without a name
        ({"category_id": [1]}, "category"),
        ({"image_id": 999}, "image"),
        ({"image_id": {}}, "image"),
        ({"iscrowd": 3}, "iscrowd"),
        ({"area": -4}, "area"),
        ({"area": "large"}, "area"),
    ]
    usual = {"image_id": 1, "category_id": 1, "bbox": box, "iscrowd": 0, "segmentation": [GOOD_POLYGON]}
    entries: list[Any] = [{"id": 1000 + i, **usual, **changed} for i, changed in enumerate(sound)]
    entries += [{"id": 2000 + i, **usual, **changed} for i, (changed, _) in enumerate(broken)]
    entries += [{"id": 4000 + i, **usual, **changed} for i, (changed, _) in enumerate(maskless)]
    fates = [Fate(f"annotation {2000 + i}", "annotation", words) for i, (_, words) in enumerate(broken)]
    fates += [
        Fate(f"annotation {4000 + i}", "annotation", f"{words}.*; its box stays")
        for i, (_, words) in enumerate(maskless)
    ]
    entries += [{"id": 1000, **usual}, None, {"id": [5], **usual}]
    fates.append(Fate("annotation 1000", "annotation", "before"))
    fates.append(Fate("annotation ?", "annotation", "object"))
    fates.append(Fate("annotation [5]", "annotation", "id"))
    # These go with their images: neither used nor lost for themselves.
    entries += [
        {"id": 3000 + i, **usual, "image_id": image}
        for i, image in enumerate((20, 21, 24, 100 + len(sound_pictures())))
    ]
    return entries, fates, len(sound) + len(maskless)


# --- YOLO --------------------------------------------------------------------------------------------------


def yolo(folder: Path) -> Torture:
    """data.yaml, images/val/ and labels/val/, as Ultralytics documents it and Roboflow exports it."""
    root = folder / "yolo"
    outline = "1 0.1 0.1 0.9 0.1 0.9 0.9\n"
    pictures, labels = root / "images" / "val", root / "labels" / "val"
    put(root / "data.yaml", "path: /nowhere\ntrain: images/train\nval: images/val\nnames: [cell, nucleus]\n")
    names, fates = put_pictures(pictures)
    for name in names:
        put(labels / Path(name).with_suffix(".txt"), outline)
    count = len(sound_pictures())
    fates += put_odd_entries(pictures, put_outside(root))
    text = {
        "windows": b"\xef\xbb\xbf0 0.5 0.5 0.2 0.2\r\n1 0.25 0.25 0.5 0.5\r\n",
        "outline": outline.encode(),
        "nothing": b"",
        "spaces": b"\n  1\t0.5  0.5 1 1  \n\n",
    }
    boxes = ("windows.txt, line 1", "windows.txt, line 2", "spaces.txt, line 2", "lines.txt, line 1")
    fates += [Fate(where, "annotation", "no outline; its box stays") for where in boxes]
    count += 4
    for stem, content in text.items():
        put(pictures / f"{stem}.jpg", encoded(picture()))
        put(labels / f"{stem}.txt", content)
    fates += used(*(f"{stem}.jpg" for stem in text), "no-label.jpg")
    put(pictures / "no-label.jpg", encoded(picture()))
    broken = {
        "99 0.5 0.5 0.2 0.2": "class",
        "-1 0.5 0.5 0.2 0.2": "class",
        "0.5 0.5 0.5 0.2 0.2": "class",
        "1e308 0.5 0.5 0.2 0.2": "class",
        "nan 0.5 0.5 0.2 0.2": "class|finite",
        "0 nan 0.5 0.2 0.2": "finite|number",
        "0 0.5 0.5 inf 0.2": "finite|number",
        "0 0.5 0.5 -0.2 0.2": "area|negative|positive|width",
        "0 0.5 0.5 0 0.2": "area|positive|width",
        "0 7 7 0.2 0.2": "outside|from 0 to 1",
        "0 1e308 0.5 1e308 0.2": "outside|finite|from 0 to 1",
        "0 0.5 0.5 0.2": "values|numbers",
        "0": "values|numbers",
        "cell 0.5 0.5 0.2 0.2": "class|number",
        "0 0.5 0.5 0.2 wide": "number",
        "0 0.1 0.1 0.9 0.1 0.9 0.9 0.5": "values|numbers|polygon",
        "0 0.1 0.1 nan 0.1 0.9 0.9": "finite|number",
        "0 0.1 0.1 1e308 0.1 0.9 0.9": "polygon|outside|from 0 to 1",
        "\x00\x1b[31m": "values|numbers",
        "1 0.5  0.5 0.2 0.2": "same",
    }
    put(pictures / "lines.jpg", encoded(picture()))
    put(labels / "lines.txt", "\n".join(["1 0.5 0.5 0.2 0.2", *broken]))
    count += 1
    fates.append(Fate("lines.jpg"))
    fates += [
        Fate(f"lines.txt, line {2 + i}", "annotation", words) for i, words in enumerate(broken.values())
    ]
    for stem, content in {
        "latin": "0 0.5 0.5 0.2 0.2 \xe9".encode("latin-1"),
        "wide": "0 1 1".encode("utf-16"),
    }.items():
        put(pictures / f"{stem}.jpg", encoded(picture()))
        put(labels / f"{stem}.txt", content)
        fates.append(Fate(f"/{stem}.txt", "image", "UTF-8"))
    put(pictures / "lost-labels.jpg", encoded(picture()))
    (labels / "lost-labels.txt").symlink_to(root / "is-not-there.txt")  # not the same as no labels
    fates.append(Fate("/lost-labels.", "image", "No such file"))
    put(pictures / ".ipynb_checkpoints" / "a-checkpoint.jpg", encoded(picture()))
    put(labels / "orphan.txt", "0 0.5 0.5 0.2 0.2\n")
    fates.append(Fate("orphan.txt", "annotation", "image|picture"))
    put(labels / "._cmyk.txt", b"\0\5\x16\7")
    put(labels / "classes.txt", "cell\nnucleus\n")  # which LabelImg writes beside the labels
    return Torture(f"yolo:{root}", root, "val", ("det", "inst"), tuple(fates), count)


def yolo_list(folder: Path) -> Torture:
    """A split that is a text with a picture on each line; labels beside the pictures."""
    root = folder / "yolo-list"
    secret = put_outside(root)
    put(root / "data.yaml", "train: val.txt\nval: val.txt\nnames:\n  0: cell\n  1: Größe\n")
    lost = {
        "../outside/secret.jpg": "leads out",
        str(secret): "leads out",
        "pictures/is-not-there.jpg": "No such file",
        "pictures/a.jpg\0": "leads out|null|text",
    }
    lines = ["./pictures/a.jpg", "", "pictures/more/b.jpg", *lost]
    put(root / "val.txt", b"\xef\xbb\xbf" + "\r\n".join(lines).encode())
    for stem in ("a", "more/b"):
        put(root / "pictures" / f"{stem}.jpg", encoded(picture()))
        put(root / "pictures" / f"{stem}.txt", "1 0.5 0.5 0.2 0.2\n")
    fates = used("pictures/a.jpg", "pictures/more/b.jpg")
    for number, (name, words) in enumerate(lost.items(), start=4):
        fates.append(Fate(name if "not-there" in name else f"val.txt, line {number}", "image", words))
    return Torture(f"yolo:{root}", root, "val", ("det",), tuple(fates), 2, not_listed=3)
