"""Two processes that meet over gloo: each ends with the gradient of the whole batch."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import torch
from timm.models.vision_transformer import VisionTransformer
from torch import nn

from argus_edge.train.batches import collate
from argus_edge.train.data.scenes import PART_CLASSES, SEG_CLASSES, render
from argus_edge.train.data.transforms import make_sample
from argus_edge.train.loop import Trainer
from argus_edge.train.model.adapter import Adapter
from argus_edge.train.model.argus import Argus
from argus_edge.train.model.backbone import Backbone
from argus_edge.train.model.decoders.pooler import AttentionalPooler
from argus_edge.train.model.decoders.upernet import UPerNet
from argus_edge.train.model.layers import group_norm
from argus_edge.train.processes import Place, any_of, join_processes, means, objects_in
from argus_edge.train.recipe import recipe_from

TASKS = ("seg", "parse", "cls")
IMAGES, SIZE = 4, 64
SETTINGS = {
    "tasks": TASKS, "precision": "fp32", "warmup": 0, "clip_norm": 1e9, "learning_rate": 1e-30,
    "phases": [{"steps": 1, "size": SIZE, "batch": IMAGES}],
}  # fmt: skip


def _trainer(place: Place, shared_images: bool) -> Trainer:
    """Real parts, small; with GroupNorm and losses that are means over equally many pixels, so that images
    do not see each other.
    """
    torch.manual_seed(0)
    vit = VisionTransformer(
        img_size=SIZE, patch_size=16, embed_dim=24, depth=4, num_heads=3, num_classes=0, dynamic_img_size=True
    )
    decoders: dict[str, nn.Module] = {
        "seg": UPerNet(24, 16, len(SEG_CLASSES), group_norm(4), 8, dropout=0.0),
        "parse": UPerNet(24, 16, len(PART_CLASSES), group_norm(4), None, dropout=0.0),
        "cls": AttentionalPooler(24, 6, 3),
    }
    model = Argus(Backbone(vit, False), Adapter(24, 8, 3, group_norm(4), vit_scale="none"), decoders)
    recipe = recipe_from(SETTINGS | {"shared_images": shared_images}, "test")
    return Trainer(model, recipe, torch.device("cpu"), place)


def _gradients(place: Place, shared_images: bool) -> dict[str, torch.Tensor]:
    trainer = _trainer(place, shared_images)
    samples = [make_sample(render(seed, SIZE), SIZE, None, TASKS) for seed in range(IMAGES)]
    mine = samples[place.rank :: place.count]
    trainer.advance([collate(group, mine) for group in ([TASKS] if shared_images else [(t,) for t in TASKS])])
    return {name: p.grad for name, p in trainer.model.named_parameters() if p.grad is not None}


def _work(folder: Path) -> None:
    """What one of the processes does."""
    place = join_processes(torch.device("cpu"))
    told = {
        "shared": _gradients(place, shared_images=True),
        "apart": _gradients(place, shared_images=False),
        "any": any_of(place.rank == 1, place),
        "none": any_of(False, place),
        "mean": means({"a": float(place.rank), "b": 2.0}, place),
        "objects": objects_in(6 * place.rank),
    }
    torch.save(told, folder / f"{place.rank}.pt")
    torch.distributed.destroy_process_group()


def test_two_processes_have_the_gradient_of_the_whole_batch(
    tmp_path: Path, in_two_processes: Callable[[str, Path], None]
) -> None:
    in_two_processes(__file__, tmp_path)
    for rank in range(2):
        told = torch.load(tmp_path / f"{rank}.pt", weights_only=True)
        assert (told["any"], told["none"], told["objects"]) == (True, False, 3)
        assert told["mean"] == {"a": 0.5, "b": 2.0}
        for way in ("shared", "apart"):
            expected = _gradients(Place(), shared_images=way == "shared")
            # What nothing reads has a gradient of 0 with several processes, none with one.
            assert all(not told[way][name].any() for name in told[way].keys() - expected.keys())
            largest = max(float(value.abs().max()) for value in expected.values())
            for name, value in expected.items():
                torch.testing.assert_close(told[way][name], value, rtol=1e-5, atol=1e-6 * largest)


def test_alone_nothing_is_sent() -> None:
    assert any_of(True, Place())
    assert means({"a": 3.0}, Place()) == {"a": 3.0}
    assert (objects_in(0), objects_in(5)) == (1, 5)


if __name__ == "__main__":
    _work(Path(sys.argv[1]))
