"""argus-data: looks at rendered scenes and surfaces, and draws scenes ahead of training.

argus-data sheet --seed 0 --count 8 --out sheet.png              # every map of 8 scenes
argus-data surfaces --seed 0 --count 3 --out surfaces.png        # whole and defective materials
argus-data clip --seed 30000000 --frames 200 --size 640x480 --out clip.mp4
argus-data prerender --split train --count 6000 --out scenes --processes 2
argus-data scenes --count 2000 --out data                        # COCO, ADE20K, ... as real data has them
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from argus_edge.command import run_command
from argus_edge.dependencies import require
from argus_edge.errors import InputError


def main() -> NoReturn:
    """The command: see `run`."""
    run_command(lambda: run(sys.argv[1:]), "argus-data")


def run(argv: Sequence[str]) -> int:
    """Run the command with the given arguments. Returns its exit code; raises ArgusError for bad input."""
    options = _parser().parse_args(argv)
    require("rich", "train")
    commands = {
        "sheet": _sheet, "surfaces": _surfaces, "clip": _clip, "prerender": _prerender, "scenes": _scenes,
    }  # fmt: skip
    commands[options.what](options)
    return 0


def _sheet(options: argparse.Namespace) -> None:
    from argus_edge.train.data.scenes import render
    from argus_edge.train.data.scenes.sheet import contact_sheet, write_picture

    size = parse_size(options.size)
    write_picture(contact_sheet(render(options.seed + i, size) for i in range(options.count)), options.out)
    print(options.out)


def _surfaces(options: argparse.Namespace) -> None:
    from argus_edge.train.data.scenes.sheet import write_picture
    from argus_edge.train.data.surfaces.sheet import surface_sheet

    write_picture(surface_sheet(options.seed, options.count, parse_size(options.size)), options.out)
    print(options.out)


def _clip(options: argparse.Namespace) -> None:
    from argus_edge.train.data.scenes import FRAME_RATE, render_clip
    from argus_edge.train.data.scenes.sheet import write_clip

    scenes = render_clip(options.seed, options.frames, parse_size(options.size))
    write_clip((scene.image for scene in scenes), options.out, FRAME_RATE)
    print(options.out)


def _prerender(options: argparse.Namespace) -> None:
    from argus_edge.train.data.scenes.dataset import SceneDataset
    from argus_edge.train.data.scenes.splits import get_split

    dataset = SceneDataset(
        get_split(options.split).first, options.count, parse_size(options.size), options.out
    )
    drawn = dataset.prerender(options.processes)
    print(f"{dataset.folder}: {options.count} scenes, {drawn} of them new")


def _scenes(options: argparse.Namespace) -> None:
    from argus_edge.train.data.layouts import LAYOUT_NAMES, Plan, write_scenes

    names = LAYOUT_NAMES if options.layouts is None else tuple(map(str.strip, options.layouts.split(",")))
    plan = Plan(
        options.out,
        options.count,
        max(1, options.count // 10) if options.val is None else options.val,
        options.seed,
        parse_size(options.size),
        names,
    )
    try:
        drawn = write_scenes(plan, options.processes)
    except KeyboardInterrupt:
        print(f"{options.out}: not complete; the same command goes on from here", file=sys.stderr)
        raise
    what = f"{plan.train} scenes to train on, {plan.val} to validate on, as {plan.settings()['layouts']}"
    print(f"{options.out}: {what}; {f'{drawn} pictures drawn' if drawn else 'nothing was left to draw'}")


def parse_size(text: str) -> tuple[int, int]:
    """'320' or 'WIDTHxHEIGHT' -> (height, width) [px].

    Raises:
        InputError: it is neither.
    """
    width, cross, height = text.partition("x")
    if not width.isdecimal() or (cross and not height.isdecimal()):
        raise InputError(
            f"size '{text}': expected one number of pixels or WIDTHxHEIGHT, as in 320 or 640x480"
        )
    return int(height or width), int(width)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="argus-data", description="Rendered scenes with exact labels.")
    commands = parser.add_subparsers(dest="what", required=True)

    sheet = commands.add_parser("sheet", help="a picture of scenes: every map of each")
    sheet.add_argument("--seed", type=int, default=0, help="seed of the first scene (default 0)")
    sheet.add_argument("--count", type=int, default=6, help="number of scenes (default 6)")
    sheet.add_argument("--size", default="320", help="pixels, N or WIDTHxHEIGHT (default 320)")
    sheet.add_argument("--out", type=Path, required=True, help="picture to write, .png or .jpg")

    surfaces = commands.add_parser("surfaces", help="a picture of materials: whole, defective, outlined")
    surfaces.add_argument("--seed", type=int, default=0, help="seed of the first surfaces (default 0)")
    surfaces.add_argument("--count", type=int, default=2, help="seeds of each category (default 2)")
    surfaces.add_argument("--size", default="320", help="pixels, N or WIDTHxHEIGHT (default 320)")
    surfaces.add_argument("--out", type=Path, required=True, help="picture to write, .png or .jpg")

    clip = commands.add_parser("clip", help="a video in which the camera moves and people walk")
    clip.add_argument("--seed", type=int, default=30_000_000, help="seed (default 30000000, the first clip)")
    clip.add_argument("--frames", type=int, default=200, help="number of frames, 25 per second (default 200)")
    clip.add_argument("--size", default="640x480", help="pixels, N or WIDTHxHEIGHT (default 640x480)")
    clip.add_argument("--out", type=Path, required=True, help="video to write, .mp4")

    prerender = commands.add_parser("prerender", help="draw scenes into a cache folder that training reads")
    prerender.add_argument(
        "--split", default="train", help="train, val, calibration or clips (default train)"
    )
    prerender.add_argument("--count", type=int, required=True, help="number of scenes from the split's first")
    prerender.add_argument("--size", default="320", help="pixels, N or WIDTHxHEIGHT (default 320)")
    prerender.add_argument("--out", type=Path, required=True, help="cache folder")
    prerender.add_argument("--processes", type=int, default=1, help="processes that draw (default 1)")

    scenes = commands.add_parser(
        "scenes", help="write scenes and surfaces in published layouts; goes on where it was stopped"
    )
    scenes.add_argument("--out", type=Path, required=True, help="folder, new or begun before")
    scenes.add_argument("--count", type=int, required=True, help="number of scenes in all, at least 2")
    scenes.add_argument("--val", type=int, help="how many of them to validate on (default a tenth)")
    scenes.add_argument("--seed", type=int, default=0, help="first scene of each split (default 0)")
    scenes.add_argument("--size", default="320", help="pixels, N or WIDTHxHEIGHT (default 320)")
    scenes.add_argument("--layouts", help="of coco,ade20k,imagenet,nyuv2,pascal,yolo,mvtec (default all)")
    scenes.add_argument("--processes", type=int, help="processes that draw (default one for each core)")
    return parser


if __name__ == "__main__":
    main()
