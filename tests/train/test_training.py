"""The training loop on a tiny model: the same weights however often it stops, and losses that fall."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn
from torch.utils.data import DataLoader

from argus_edge.errors import CheckpointError, TrainingError
from argus_edge.train.batches import Batch, StepBatches, collate
from argus_edge.train.commands.train import device_name, main
from argus_edge.train.data.scenes import DET_CLASSES, SEG_CLASSES
from argus_edge.train.data.scenes.dataset import SceneDataset
from argus_edge.train.data.transforms import make_sample
from argus_edge.train.loop import StepReport, Trainer, measure_scales, run
from argus_edge.train.model.adapter import Adapter
from argus_edge.train.model.argus import Argus, normalise
from argus_edge.train.model.backbone import Backbone
from argus_edge.train.model.checkpoint import write_tensors
from argus_edge.train.model.decoders.dpt import DPTDepth
from argus_edge.train.model.decoders.mask_dino import MaskDINO
from argus_edge.train.model.decoders.pooler import AttentionalPooler
from argus_edge.train.model.decoders.upernet import UPerNet
from argus_edge.train.model.layers import group_norm
from argus_edge.train.recipe import Recipe, recipe_from
from argus_edge.train.state import saved_steps

CPU = torch.device("cpu")
STEPS = 4


def tiny(seed: int = 0, frozen: bool = False) -> Argus:
    """All real parts, 24 to 32 channels wide."""
    torch.manual_seed(seed)
    vit = VisionTransformer(
        img_size=64, patch_size=16, embed_dim=24, depth=4, num_heads=3, num_classes=0, dynamic_img_size=True
    )
    decoders = {
        "det": MaskDINO(24, len(DET_CLASSES), 32, 20, 1, 2, 48, 48, 20),
        "seg": UPerNet(24, 16, len(SEG_CLASSES), nn.BatchNorm2d, 8),
        "depth": DPTDepth(24, 16, 8),
    }
    return Argus(Backbone(vit, frozen), Adapter(24, 8, 3, group_norm(4), vit_scale="none"), decoders)


def recipe(**changes: Any) -> Recipe:
    phases = [{"steps": 2, "size": 64, "batch": 3}, {"steps": STEPS - 2, "size": 96, "batch": 2}]
    values = {"precision": "fp32", "scenes": 4, "warmup": 2, "phases": phases, "workers": 0, "save_every": 2}
    return recipe_from(values | {"learning_rate": 1e-3} | changes, "test")


@pytest.fixture(scope="module")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> SceneDataset:
    return SceneDataset(0, 4, 96, tmp_path_factory.mktemp("scenes"))


def advance(trainer: Trainer, scenes: SceneDataset, until: int) -> list[StepReport]:
    batches = StepBatches(trainer.recipe, scenes)
    return [trainer.advance(batches[step]) for step in range(trainer.step, until)]


def everything(trainer: Trainer) -> dict[str, Tensor]:
    """All tensors that a run depends on."""
    tensors = {f"model.{k}": v for k, v in trainer.model.state_dict().items()}
    tensors |= {f"average.{k}": v for k, v in trainer.average.state_dict().items()}
    for name, parameter in trainer.model.named_parameters():
        state = trainer.optimiser.state.get(parameter, {})
        tensors |= {f"optimiser.{name}.{k}": v for k, v in state.items()}
    return tensors


@pytest.mark.parametrize("shared", [True, False])
def test_a_resumed_run_ends_in_the_same_bits(scenes: SceneDataset, tmp_path: Path, shared: bool) -> None:
    settings = recipe(shared_images=shared)
    whole = Trainer(tiny(), settings, CPU)
    reports = advance(whole, scenes, STEPS)

    half = Trainer(tiny(), settings, CPU)
    first = advance(half, scenes, STEPS // 2)
    half.save(tmp_path)
    resumed = Trainer(tiny(seed=99), settings, CPU)
    resumed.restore(tmp_path)
    assert resumed.step == STEPS // 2
    second = advance(resumed, scenes, STEPS)

    assert first + second == reports
    assert [r.images for r in reports] == [n * (1 if shared else 3) for n in (3, 3, 2, 2)]
    expected, actual = everything(whole), everything(resumed)
    assert set(expected) == set(actual)
    assert not [name for name, value in expected.items() if not torch.equal(value, actual[name])]


def test_the_loop_saves_as_told_and_keeps_two_states(scenes: SceneDataset, tmp_path: Path) -> None:
    trainer = Trainer(tiny(), recipe(validate_every=3), CPU)
    loader = DataLoader(StepBatches(trainer.recipe, scenes), batch_size=None, sampler=range(STEPS))
    steps: list[int] = []
    validated: list[int] = []
    assert run(trainer, loader, tmp_path, lambda r: steps.append(r.step), lambda t: validated.append(t.step))
    assert (steps, validated) == ([1, 2, 3, 4], [3, 4])
    kept = {f"state-{step}.{suffix}" for step in (2, STEPS) for suffix in ("json", "safetensors")}
    assert {f.name for f in tmp_path.iterdir()} == kept


def test_a_stopped_run_saves_and_ends_early(scenes: SceneDataset, tmp_path: Path) -> None:
    trainer = Trainer(tiny(), recipe(save_every=100), CPU)
    loader = DataLoader(StepBatches(trainer.recipe, scenes), batch_size=None, sampler=range(STEPS))
    steps: list[int] = []
    finished = run(
        trainer, loader, tmp_path, lambda r: steps.append(r.step), lambda _: None, lambda: len(steps) == 3
    )
    assert (finished, steps) == (False, [1, 2, 3])
    assert saved_steps(tmp_path) == [3]


@pytest.mark.parametrize("name", ["famo", "gradnorm", "uncertainty"])
def test_learnt_weights_are_resumed(scenes: SceneDataset, tmp_path: Path, name: str) -> None:
    settings = recipe(balancing=name)
    whole = Trainer(tiny(), settings, CPU)
    reports = advance(whole, scenes, STEPS)
    assert reports[0].weights != reports[-1].weights
    half = Trainer(tiny(), settings, CPU)
    advance(half, scenes, 2)
    half.save(tmp_path)
    resumed = Trainer(tiny(seed=99), settings, CPU)
    resumed.restore(tmp_path)
    assert advance(resumed, scenes, STEPS) == reports[2:]


def test_the_state_before_serves_where_the_last_is_torn(scenes: SceneDataset, tmp_path: Path) -> None:
    trainer = Trainer(tiny(), recipe(), CPU)
    for until in (1, 2):
        advance(trainer, scenes, until)
        trainer.save(tmp_path)
    (tmp_path / "state-2.safetensors").write_bytes(b"torn")
    resumed = Trainer(tiny(seed=99), recipe(), CPU)
    resumed.restore(tmp_path)
    assert resumed.step == 1


def test_a_full_disk_is_said_and_loses_nothing(
    scenes: SceneDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer = Trainer(tiny(), recipe(), CPU)
    advance(trainer, scenes, 1)
    trainer.save(tmp_path)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("argus_edge.train.state.write_tensors", full)
    advance(trainer, scenes, 2)
    with pytest.raises(TrainingError, match=r"No space left on device.*earlier states are whole"):
        trainer.save(tmp_path)
    assert saved_steps(tmp_path) == [1]


def test_constant_scales_are_those_of_the_vit(scenes: SceneDataset) -> None:
    model = tiny(frozen=True)
    model.adapter.vit_scale = "const"
    measure_scales(model, [scenes[0].image, scenes[1].image])
    with torch.no_grad():
        images = torch.stack([torch.from_numpy(scenes[i].image) for i in range(2)])
        patches = model.backbone.embed(normalise(images)).patches
    assert model.adapter.scale[0] == pytest.approx(float(patches.square().mean().rsqrt()), rel=1e-4)
    assert len(set(model.adapter.scale.tolist())) == 4


def test_losses_fall_on_a_few_scenes(scenes: SceneDataset) -> None:
    phases = [{"steps": 60, "size": 64, "batch": 2}]
    trainer = Trainer(tiny(), recipe(phases=phases, learning_rate=6e-3, warmup=5), CPU)
    batch = StepBatches(trainer.recipe, scenes)[0]
    reports = [trainer.advance(batch) for _ in range(30)]
    for task in ("det", "seg", "depth"):
        assert sum(r.losses[task] for r in reports[-5:]) < 0.7 * sum(r.losses[task] for r in reports[:5]), (
            task
        )


def test_a_frozen_vit_stays_as_it_was(scenes: SceneDataset) -> None:
    model = tiny(frozen=True)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    trainer = Trainer(model, recipe(), CPU)
    advance(trainer, scenes, 2)
    after = trainer.model.state_dict()
    assert all(
        torch.equal(after[name], value) for name, value in before.items() if name.startswith("backbone.")
    )
    assert not torch.equal(after["adapter.up.weight"], before["adapter.up.weight"])


def test_the_average_follows_the_weights(scenes: SceneDataset) -> None:
    trainer = Trainer(tiny(), recipe(), CPU)
    start = trainer.model.adapter.up.weight.detach().clone()
    advance(trainer, scenes, 1)
    decay = 1 / 10  # (1 + step) / (10 + step) of the first step
    expected = decay * start + (1 - decay) * trainer.model.adapter.up.weight
    torch.testing.assert_close(trainer.average.adapter.up.weight, expected.detach())
    assert not any(p.requires_grad for p in trainer.average.parameters())


@pytest.mark.parametrize("task", ["det", "seg", "depth"])
def test_a_loss_that_is_no_number_skips_the_step_and_names_task_and_images(
    scenes: SceneDataset, task: str
) -> None:
    trainer = Trainer(tiny(), recipe(), CPU)
    with torch.no_grad():
        sick = next(trainer.model.decoders[task].parameters())
        sick.flatten()[0] = float("nan")
    before = {name: value.clone() for name, value in trainer.model.state_dict().items()}
    batch = StepBatches(trainer.recipe, scenes)[0]
    report = trainer.advance(batch)
    assert f"step 0: the loss of task '{task}' is nan on scene" in report.fault
    after = trainer.model.state_dict()
    assert not [n for n, v in before.items() if not torch.equal(v.nan_to_num(), after[n].nan_to_num())]
    assert trainer.step == 1
    for _ in range(8):
        trainer.advance(batch)
    with pytest.raises(TrainingError, match="10 steps in a row"):
        trainer.advance(batch)


def test_images_without_objects_or_labels_train_on(scenes: SceneDataset) -> None:
    trainer = Trainer(tiny(), recipe(), CPU)
    (batch,) = StepBatches(trainer.recipe, scenes)[0]
    targets = {
        "det": [type(b)(b.labels[:0], b.boxes[:0]) for b in batch.targets["det"]],
        "seg": torch.full_like(batch.targets["seg"], 255),
        "depth": torch.zeros_like(batch.targets["depth"]),
    }
    empty = Batch(batch.image, targets)
    report = trainer.advance([empty])
    assert report.losses["seg"] == report.losses["depth"] == 0
    assert report.losses["det"] > 0
    assert all(torch.isfinite(p).all() for p in trainer.model.parameters())


@pytest.mark.parametrize("balancing", ["fixed", "gradnorm"])
def test_a_batch_in_parts_has_the_gradient_of_the_whole(scenes: SceneDataset, balancing: str) -> None:
    """With GroupNorm and means over equally many pixels, so that images do not see each other."""
    tasks = ("seg", "cls")
    samples = [make_sample(scenes[i], 64, None, tasks) for i in range(4)]
    settings = {"tasks": list(tasks), "learning_rate": 1e-30, "clip_norm": 1e9, "balancing": balancing}
    reports, gradients, learnt = [], [], []
    for size in (4, 2):
        torch.manual_seed(0)
        model = tiny()
        model.decoders = nn.ModuleDict(
            {
                "seg": UPerNet(24, 16, len(SEG_CLASSES), group_norm(4), 8, dropout=0.0),
                "cls": AttentionalPooler(24, 6, 3),
            }
        )
        trainer = Trainer(model, recipe(**settings), CPU)
        parts = [samples[i : i + size] for i in range(0, 4, size)]
        reports.append(trainer.advance([collate(tasks, part, size / 4) for part in parts]))
        gradients.append({n: p.grad for n, p in model.named_parameters() if p.grad is not None})
        learnt.append(trainer.balancer.state_dict())
    assert reports[1].losses == pytest.approx(reports[0].losses, rel=1e-5)
    assert reports[1].images == reports[0].images == 4
    assert gradients[0].keys() == gradients[1].keys()
    largest = max(float(value.abs().max()) for value in gradients[0].values())
    for name, value in gradients[0].items():
        torch.testing.assert_close(gradients[1][name], value, rtol=1e-5, atol=1e-6 * largest)
    for name, value in learnt[0].items():
        torch.testing.assert_close(learnt[1][name], value, rtol=1e-4, atol=1e-7)


def test_a_state_from_before_a_setting_was_there_is_resumed(scenes: SceneDataset, tmp_path: Path) -> None:
    trainer = Trainer(tiny(), recipe(), CPU)
    trainer.save(tmp_path)
    facts = json.loads((tmp_path / "state-0.json").read_text())
    del facts["recipe"]["accumulate"]
    (tmp_path / "state-0.json").write_text(json.dumps(facts))
    Trainer(tiny(), recipe(), CPU).restore(tmp_path)
    other = recipe(accumulate=2, phases=[{"steps": STEPS, "size": 64, "batch": 4}])
    with pytest.raises(CheckpointError, match="other settings for phases, accumulate"):
        Trainer(tiny(), other, CPU).restore(tmp_path)


def test_each_process_takes_a_gpu_of_its_own() -> None:
    second = {"LOCAL_RANK": "1"}
    assert [device_name(name, True, second) for name in ("auto", "cuda", "cuda:0", "cpu")] == [
        "cuda:1",
        "cuda:1",
        "cuda:0",
        "cpu",
    ]
    assert device_name("auto", True, {}) == "cuda"
    assert device_name("auto", False, second) == "cpu"


def test_other_settings_are_refused_on_resume(scenes: SceneDataset, tmp_path: Path) -> None:
    trainer = Trainer(tiny(), recipe(), CPU)
    advance(trainer, scenes, 1)
    trainer.save(tmp_path)
    other = Trainer(tiny(), recipe(learning_rate=5e-4, seed=1), CPU)
    with pytest.raises(CheckpointError, match="other settings for seed, learning_rate"):
        other.restore(tmp_path)
    assert other.step == 0


@pytest.mark.parametrize("damage", ["nothing", "torn json", "torn tensors", "no tensors", "other tensors"])
def test_a_run_that_cannot_be_resumed_is_named(scenes: SceneDataset, tmp_path: Path, damage: str) -> None:
    facts, tensors = tmp_path / "state-1.json", tmp_path / "state-1.safetensors"
    if damage != "nothing":
        trainer = Trainer(tiny(), recipe(), CPU)
        advance(trainer, scenes, 1)
        trainer.save(tmp_path)
    match damage:
        case "torn json":
            facts.write_bytes(facts.read_bytes()[:50])
        case "torn tensors":
            tensors.write_bytes(tensors.read_bytes()[:5000])
        case "no tensors":
            tensors.unlink()
        case "other tensors":
            write_tensors(tensors, {"model.something": torch.zeros(3)})
    with pytest.raises(CheckpointError, match=f"{tmp_path.name}: no run to resume there"):
        Trainer(tiny(), recipe(), CPU).restore(tmp_path)


def test_a_step_s_batches_depend_on_seed_and_step_alone(scenes: SceneDataset) -> None:
    batches, again = StepBatches(recipe(), scenes), StepBatches(recipe(), scenes)
    assert len(batches) == STEPS
    last, first = again[3], again[0]
    for expected, actual in ((batches[0], first), (batches[3], last)):
        assert torch.equal(expected[0].image, actual[0].image)
        assert torch.equal(expected[0].targets["depth"], actual[0].targets["depth"])
    assert first[0].image.shape == (3, 64, 64, 3)
    assert last[0].image.shape == (2, 96, 96, 3)
    assert not torch.equal(StepBatches(recipe(seed=1), scenes)[0][0].image, first[0].image)


def test_a_run_is_not_overwritten(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "state-7.json").write_text("{}")
    with pytest.raises(SystemExit) as caught:
        main(["--out", str(tmp_path)])
    assert caught.value.code == 2
    message = capsys.readouterr().err
    assert f"{tmp_path} holds a run already" in message
    assert "--resume" in message
    assert (tmp_path / "state-7.json").read_text() == "{}"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--phases", "10:64"], "expected steps:size:batch"),
        (["--phases", "ten:64:2"], "expected steps:size:batch"),
        (["--variant", "huge"], "got 'huge'"),
        (["--tasks", "det,flow"], "unknown task 'flow'"),
        (["--device", "cuda:99"], "--device cuda:99: not usable here"),
        (["--device", "toaster"], "--device toaster: not usable here"),
        (["--recipe", "/nowhere.yaml"], "/nowhere.yaml: not a readable recipe file"),
        (["--resume"], "no run to resume there"),
    ],
)
def test_wrong_arguments_are_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["--out", str(tmp_path / "run"), *arguments])
    assert caught.value.code == 2
    assert message in capsys.readouterr().err
