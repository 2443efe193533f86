"""Tasks from outside: what a user's file or an entry point may hold, and that every table then has them."""

from __future__ import annotations

import json
import pickle
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from torch import Tensor, nn

from argus_edge.errors import CheckpointError, DatasetError, InputError, TaskError
from argus_edge.results import Classification, DenseMap, LabelMap, NormalMap
from argus_edge.tasks import TASKS, OutputKind, TaskSpec, all_tasks, get_task
from argus_edge.train.batches import collate, fixed_batch
from argus_edge.train.commands import evaluate
from argus_edge.train.commands.train import parser, recipe_of
from argus_edge.train.custom import CustomTask, add_task, find_task, load_task_files, origins
from argus_edge.train.data.augment import AUGMENTATIONS, Augmentation, make_training_sample, untold
from argus_edge.train.data.classes import SCENE_CLASSES
from argus_edge.train.data.example import Example, truth_of
from argus_edge.train.data.problems import Problems
from argus_edge.train.data.readers import READERS, open_data
from argus_edge.train.data.rendered import scene_example
from argus_edge.train.data.scene_labels import SCENE_MAPS, SceneLabel
from argus_edge.train.data.scenes import render
from argus_edge.train.data.scenes.scene import GROUND
from argus_edge.train.data.transforms import make_sample, scene_maps
from argus_edge.train.loader import load_steps
from argus_edge.train.metrics import TASK_METRICS, MeanIoU, TaskMetric
from argus_edge.train.model.build import build_decoder
from argus_edge.train.model.checkpoint import load_checkpoint
from argus_edge.train.model.decoders.upernet import UPerNet
from argus_edge.train.objectives import task_loss
from argus_edge.train.processes import Place
from argus_edge.train.recipe import Recipe, recipe_from
from argus_edge.train.relabel import match_classes, relabel_example
from argus_edge.train.sources import open_sources
from argus_edge.train.truth import true_result

EXAMPLE = Path(__file__).parents[2] / "examples" / "near_ground.py"
NAMES = ("elsewhere", "near ground", "far ground")

pytestmark = pytest.mark.usefixtures("forget_own_tasks")


class Plain(nn.Module):
    """A 1x1 convolution of F1, and an answer of any form."""

    levels = (1,)

    def __init__(self, outputs: int, answer: Any) -> None:
        super().__init__()
        self.project, self.answer = nn.Conv2d(192, outputs, 1), answer

    def forward(self, features: Any) -> Tensor:
        return self.project(features[0])  # type: ignore[no-any-return]

    def infer(self, features: Any) -> Any:
        return self.answer(nn.functional.interpolate(self.project(features[0]), scale_factor=8.0))


ANSWERS: dict[OutputKind, tuple[int, Any]] = {
    "label_map": (3, lambda maps: {"labels": maps.argmax(1).to(torch.uint8)}),
    "dense_map": (1, lambda maps: {"fog": maps[:, 0]}),
    "normal_map": (3, lambda maps: {"normals": nn.functional.normalize(maps, dim=1)}),
    "scores": (3, lambda maps: {"probabilities": maps.mean((2, 3)).softmax(1)}),
}


def fog(kind: OutputKind = "label_map", **changes: Any) -> CustomTask:
    """A task that learns nothing worth knowing."""
    outputs, answer = ANSWERS.get(kind, ANSWERS["label_map"])
    task = CustomTask(
        row=TaskSpec("fog", "fog", kind, "figure", "km" if kind == "dense_map" else ""),
        build=lambda _variant, _classes: Plain(outputs, answer),
        loss=lambda outputs, _target: outputs.square().mean(),
        metric=TaskMetric(lambda names: MeanIoU(names, task="fog"), ("mIoU",)),
        classes=NAMES if kind in ("label_map", "scores") else (),
    )
    return replace(task, **changes)


def write(folder: Path, text: str) -> Path:
    path = folder / "mine.py"
    path.write_text(text)
    return path


# -- files, entry points and what they may hold --------------------------------------------------------


def test_every_table_has_the_example() -> None:
    load_task_files([EXAMPLE])
    assert get_task("ground").kind == "label_map"
    assert TASK_METRICS["ground"].primary == "mIoU"
    assert SCENE_CLASSES["ground"] == NAMES
    assert AUGMENTATIONS["ground"] == AUGMENTATIONS["seg"]
    assert "ground-maps" in READERS
    load_task_files([EXAMPLE, EXAMPLE.parent / ".." / "examples" / EXAMPLE.name])  # once is enough
    assert list(all_tasks()) == [*TASKS, "ground"]


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("import json\n", r"mine\.py: holds no task; expected a CustomTask among its names"),
        ("x = 1\n\nimport no_such_module\n", r"mine\.py:3: ModuleNotFoundError: No module named 'no_such"),
        ("def f():\n    return 1 / 0\n\nf()\n", r"mine\.py:2: ZeroDivisionError: division by zero$"),
        ("a = 1\nb = (\n", r"mine\.py:2: SyntaxError: '\(' was never closed"),
        ("raise ValueError('two\\nlines')\n", r"mine\.py:1: ValueError: two$"),
        ("import sys\nsys.exit('no')\n", r"mine\.py:2: SystemExit: no$"),
        ("x = '\0'\n", r"mine\.py: SyntaxError: source code .* null bytes$"),
    ],
)
def test_a_file_that_is_no_task_is_refused_in_one_line(tmp_path: Path, text: str, named: str) -> None:
    path = write(tmp_path, text)
    modules = set(sys.modules)
    with pytest.raises(TaskError, match=named) as refused:
        load_task_files([path])
    assert "\n" not in str(refused.value)
    assert list(all_tasks()) == list(TASKS)
    assert not [
        name
        for name in set(sys.modules) - modules
        if name.startswith("argus_task_mine_") and "json" not in text
    ]


def test_a_file_that_is_missing_or_of_another_kind_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TaskError, match=r"none\.py: no such file; expected a Python file with a CustomTask"):
        load_task_files([tmp_path / "none.py"])
    (tmp_path / "task.txt").write_text("x = 1")
    with pytest.raises(TaskError, match=r"task\.txt: expected a Python file, NAME\.py"):
        load_task_files([tmp_path / "task.txt"])


def test_a_name_is_taken_once(tmp_path: Path) -> None:
    load_task_files([EXAMPLE])
    copy = write(tmp_path, EXAMPLE.read_text())
    with pytest.raises(
        TaskError, match=r"mine\.py: task 'ground' is there already; give the new one another"
    ):
        load_task_files([copy])


READER = READERS["maps"]


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"row": TaskSpec("seg", "mine", "label_map", "mIoU")}, "here: task 'seg' is there already"),
        ({"row": TaskSpec("Fog", "mine", "label_map", "mIoU")}, "here: a task's name must be like"),
        ({"row": TaskSpec("fog", "mine", "boxes", "AP")}, "kind 'boxes' cannot be trained from outside yet"),
        ({"row": TaskSpec("fog", "mine", "fog", "AP")}, "expected one of the kinds"),  # type: ignore[arg-type]
        ({"weight": -1.0}, "its weight must be a number of 0 or more, got -1.0"),
        ({"weight": float("nan")}, "its weight must be"),
        ({"weight": "1"}, "its weight must be a number of 0 or more, got '1'"),
        ({"row": "fog"}, "here: a task's row must be a TaskSpec, got 'fog'"),
        ({"build": None}, "its build must be a function, got None"),
        ({"loss": None}, "its loss must be a function, got None"),
        ({"metric": MeanIoU}, "its metric must be a TaskMetric, got <class"),
        ({"targets": 7}, "its targets must be None or a function, got 7"),
        ({"augmentation": "seg"}, "its augmentation must be None or an Augmentation, got 'seg'"),
        ({"scenes": lambda maps: maps["seg"]}, "its scenes must be None or a SceneLabel of maps among seg, "),
        ({"scenes": SceneLabel(("seg", "dept"), lambda _: 0)}, r"got SceneLabel\(maps=\('seg', 'dept'\)"),
        ({"readers": {"fogs": "maps"}}, "its readers must be a mapping of layouts to readers"),
        ({"classes": "ab"}, "its classes must be names that differ, got 'ab'"),
        ({"classes": ("a", "a")}, "its classes must be names that differ"),
        ({"classes": (), "scenes": SceneLabel((), lambda _: 0)}, "needs the names of its classes; got none"),
        ({"readers": {"coco": replace(READER, tasks=("fog",))}}, "none of ade20k, coco, .*; got 'coco'"),
        ({"readers": {"a:b": replace(READER, tasks=("fog",))}}, "got 'a:b'"),
        ({"readers": {"fogs": READER}}, "its reader 'fogs' tells about seg"),
    ],
)
def test_a_task_that_cannot_be_is_refused(changes: dict[str, Any], named: str) -> None:
    with pytest.raises(TaskError, match=named):
        add_task(fog(**changes), "here")
    assert list(all_tasks()) == list(TASKS)
    assert list(TASK_METRICS) == list(TASKS)


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A distribution with entry points, on the path."""
    text = EXAMPLE.read_text().replace('"ground"', '"soil"').replace('"ground-maps"', '"soil-maps"')
    (tmp_path / "soil_task.py").write_text(text)
    info = tmp_path / "soil-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: soil\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(
        "[argus_edge.tasks]\nsoil = soil_task:TASK\nmud = soil_task:TASK\nlost = no_such_module:TASK\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    return tmp_path


@pytest.mark.usefixtures("installed")
def test_an_installed_task_is_found_by_its_name() -> None:
    assert "soil_task" not in sys.modules
    with pytest.raises(TaskError, match=r"unknown task 'sand'; .*a task of your own needs --task-file FILE"):
        find_task("sand")
    assert "soil_task" not in sys.modules  # only what is asked for is loaded
    assert find_task("soil").kind == "label_map"
    assert "soil-maps" in READERS
    assert origins().entry_points == ("soil",)
    with pytest.raises(
        TaskError, match=r"entry point mud = soil_task:TASK: expected .* 'mud', got task 'soil'"
    ):
        find_task("mud")
    with pytest.raises(
        TaskError, match=r"entry point lost = .*: ModuleNotFoundError: No module named 'no_such"
    ):
        find_task("lost")
    sys.modules.pop("soil_task", None)


def test_a_reader_of_an_installed_task_can_be_named_before_the_task_is(
    installed: Path, maps_folder: Path
) -> None:
    """argus-eval looks at --data before it has opened the model, whose task has the reader."""
    (installed / "soil-1.0.dist-info" / "entry_points.txt").write_text(
        "[argus_edge.tasks]\nsoil = soil_task:TASK\n"
    )
    with pytest.raises(InputError, match=r"none\.argus: "):
        evaluate.run([str(installed / "none.argus"), "--data", f"soil-maps:{maps_folder}"])
    with pytest.raises(DatasetError, match=r"'mud-maps:.*expected LAYOUT:PATH with one of .*yolo, soil-maps"):
        evaluate.run([str(installed / "none.argus"), "--data", f"mud-maps:{maps_folder}"])
    sys.modules.pop("soil_task", None)


def test_where_tasks_come_from_travels_to_workers(forget_own_tasks: Callable[[], None]) -> None:
    load_task_files([EXAMPLE])
    sent = pickle.dumps(origins())
    forget_own_tasks()
    assert pickle.loads(sent).files == (EXAMPLE.resolve(),)
    assert get_task("ground").title == "near ground"


# -- what the user's code raises -----------------------------------------------------------------------


def fails(*_: Any) -> Any:
    raise ValueError("two\nlines")


def plain_label(maps: Any) -> Any:
    return np.zeros_like(maps["seg"])


def one_step() -> None:
    """What a run does with a task."""
    batch = fixed_batch("fog", [3, 8], 64)
    decoder = build_decoder("nano", "fog", NAMES)
    features = [torch.zeros(2, 192, 64 // s, 64 // s) for s in (4, 8, 16, 32)]
    task_loss("fog", decoder, features, batch.targets["fog"], torch.Generator())


class Unfinished(Plain):
    """Fails in training only."""

    def forward(self, features: Any) -> Tensor:
        raise KeyError("x")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"build": fails}, "its build: ValueError: two$"),
        ({"build": lambda _v, _c: Plain(3, fails)}, "its decoder: ValueError: two$"),
        ({"build": lambda _v, _c: Unfinished(3, ANSWERS["label_map"][1])}, "its decoder: KeyError: 'x'$"),
        ({"loss": fails}, "its loss: ValueError: two$"),
        (
            {"loss": lambda outputs, _: outputs},
            r"its loss must be a tensor without axes, got a tensor \(2, 3, 8, 8\)$",
        ),
        ({"loss": lambda outputs, _: 1.0}, "its loss must be a tensor without axes, got a float$"),
        ({"targets": fails}, "its targets: ValueError: two$"),
        ({"scenes": SceneLabel(("seg",), fails)}, "its label of scenes: ValueError: two$"),
        (
            {"scenes": SceneLabel(("seg",), lambda maps: plain_label(maps)[::2])},
            r"its label of scene 3 is \(32, 64\); expected \(64, 64\)$",
        ),
        (
            {"build": lambda _v, c: UPerNet(64, 8, len(c), nn.BatchNorm2d, None)},
            "its decoder: the decoder reads",
        ),
    ],
)
def test_errors_of_the_users_code_say_whose_they_are(changes: dict[str, Any], said: str) -> None:
    add_task(fog(**{"scenes": SceneLabel(("seg",), plain_label), **changes}))
    with pytest.raises(TaskError, match=rf"^task 'fog': {said}"):
        one_step()


def test_errors_of_the_users_code_name_the_line(tmp_path: Path) -> None:
    text = EXAMPLE.read_text().replace("loss=segmentation_loss", "loss=lambda outputs, _: outputs + 1")
    line = 1 + text[: text.index("loss=lambda")].count("\n")
    load_task_files([write(tmp_path, text.replace('"ground"', '"fog"'))])
    with pytest.raises(TaskError, match=rf"mine\.py:{line}: task 'fog': its loss: TypeError: unsupported"):
        one_step()


@pytest.mark.parametrize("workers", [0, 1])
def test_a_worker_tells_what_is_wrong_with_a_task(tmp_path: Path, workers: int) -> None:
    """In one line: what a worker raises itself comes with its traceback."""
    text = EXAMPLE.read_text().replace('maps["depth"] < NEAR', 'maps["depth"][:, ::2] < NEAR')
    load_task_files([write(tmp_path, text)])
    recipe = recipe_from(
        {"tasks": ["ground"], "phases": [{"steps": 1, "size": 64, "batch": 2}], "scenes": 2}, "test"
    )
    steps = load_steps(open_sources(recipe, tmp_path).steps(recipe, Place()), range(1), workers)
    with pytest.raises(
        DatasetError, match=r"mine\.py:\d+: task 'ground': its label of scenes: ValueError: "
    ) as told:
        next(steps)
    assert "\n" not in str(told.value)


# -- labels --------------------------------------------------------------------------------------------


def test_scenes_tell_about_the_example() -> None:
    load_task_files([EXAMPLE])
    scene = render(3, 96)
    example = scene_example(scene, ("ground", "depth"))
    expected = np.where(scene.labels == GROUND, np.where(scene.depth < 4, 1, 2), 0)
    np.testing.assert_array_equal(truth_of("ground", example), expected)
    assert example.labels is None
    assert set(np.unique(expected)) == {0, 1, 2}


def test_labels_can_be_made_of_every_map_that_scenes_have() -> None:
    scene = render(3, 64)
    found = scene_maps(scene, scene.image, lambda values: values, SCENE_MAPS)
    assert set(found) == set(SCENE_MAPS) == set(scene_maps(scene, scene.image, lambda values: values, TASKS))


def test_samples_of_scenes_see_them_as_the_network_does() -> None:
    """Cropped and enlarged, the ground is nearer; depth of the sample says so, and the label follows it."""
    load_task_files([EXAMPLE])
    scene = render(3, 192)
    several = make_sample(scene, 64, np.random.default_rng(5), ("ground", "seg", "depth"))
    alone = make_sample(scene, 64, np.random.default_rng(5), ("ground",))
    assert set(alone.maps) == {"ground"}
    np.testing.assert_array_equal(several.maps["ground"], alone.maps["ground"])
    near = several.maps["depth"] < 4
    np.testing.assert_array_equal(several.maps["ground"] == 1, near & (several.maps["seg"] == GROUND))
    assert alone.maps["ground"].any()


@pytest.fixture
def maps_folder(tmp_path: Path) -> Path:
    """Three pictures with maps of the example's classes; one says nothing in its upper half."""
    for kind in ("images", "labels"):
        (tmp_path / "maps" / kind / "train").mkdir(parents=True)
    rng = np.random.default_rng(0)
    for number in range(3):
        labels = np.zeros((40, 60), np.uint8)
        labels[20:, :30], labels[20:, 30:] = 1, 2
        labels[:20] = 255 if number == 2 else 0
        image = rng.integers(0, 256, (40, 60, 3), dtype=np.uint8)
        cv2.imwrite(str(tmp_path / "maps" / "images" / "train" / f"{number}.png"), image)
        cv2.imwrite(str(tmp_path / "maps" / "labels" / "train" / f"{number}.png"), labels)
    (tmp_path / "maps" / "classes.txt").write_text("\n".join(NAMES))
    return tmp_path / "maps"


def test_a_reader_of_ours_tells_about_it(maps_folder: Path) -> None:
    load_task_files([EXAMPLE])
    images = open_data(f"ground-maps:{maps_folder}", "train", ("ground",), Problems(strict=True))
    assert (images.tasks, dict(images.classes)) == (("ground",), {"ground": NAMES})
    example = images[2]
    assert example is not None
    assert set(np.unique(truth_of("ground", example))) == {1, 2, 255}
    assert untold(example, ("ground", "seg")) == ["seg"]
    sample = make_training_sample(example, (64, 64), None, ("ground",))
    shown = sample.maps["ground"]
    assert shown.shape == (64, 64)
    assert (shown[50:] == 255).all()  # below the picture
    assert (shown[30:40, :30] == 1).all()
    mirrored = make_training_sample(
        example, (64, 64), np.random.default_rng(0), ("ground",), Augmentation(flip=1)
    )
    np.testing.assert_array_equal(mirrored.maps["ground"][:40], shown[:40, ::-1])
    named = open_data(f"ground-maps:{maps_folder}#a,b,c", "train", ("ground",), Problems(strict=True))
    assert named.classes["ground"] == ("a", "b", "c")
    recipe = recipe_from({"tasks": ["ground"], "data": {"ground": f"ground-maps:{maps_folder}"}}, "test")
    sources = open_sources(recipe, maps_folder / "cache")
    assert (sources.scenes, sources.classes) == (None, {"ground": NAMES})


def test_without_a_word_about_scenes_it_needs_data(tmp_path: Path) -> None:
    add_task(fog())
    with pytest.raises(
        InputError, match=r"'fog' does not say what scenes tell about it; .*--data LAYOUT:PATH"
    ):
        open_sources(recipe_from({"tasks": ["fog"]}, "test"), tmp_path)


LABELS: dict[OutputKind, Any] = {
    "label_map": np.tile(np.array([0, 1, 2, 255], np.uint8), (6, 2)),
    "dense_map": np.tile(np.array([0.5, np.nan], np.float32), (6, 4)),
    "normal_map": np.tile(np.array([0.6, 0, -0.8], np.float32), (6, 8, 1)),
    "scores": 2,
}
UNKNOWN: dict[OutputKind, float] = {"label_map": 255, "dense_map": np.nan, "normal_map": 0}


@pytest.mark.parametrize("kind", LABELS)
def test_each_kind_is_placed_learnt_and_drawn(kind: OutputKind) -> None:
    add_task(fog(kind))
    example = Example("a picture", np.zeros((6, 8, 3), np.uint8), custom={"fog": LABELS[kind]})
    samples = [make_training_sample(example, (64, 64), None, ("fog",)) for _ in range(2)]
    target = collate(("fog",), samples).targets["fog"]
    shapes = {
        "label_map": (2, 64, 64),
        "dense_map": (2, 64, 64),
        "normal_map": (2, 3, 64, 64),
        "scores": (2,),
    }
    assert tuple(target.shape) == shapes[kind]
    assert target.dtype == (torch.int64 if kind in ("label_map", "scores") else torch.float32)
    if kind in UNKNOWN:
        np.testing.assert_array_equal(
            target[..., 50:, :].numpy(), np.full_like(target[..., 50:, :], UNKNOWN[kind])
        )
    truth = true_result("fog", example, NAMES)
    assert isinstance(
        truth,
        {"label_map": LabelMap, "dense_map": DenseMap, "normal_map": NormalMap, "scores": Classification}[
            kind
        ],
    )
    if isinstance(truth, DenseMap):
        assert truth.unit == "km"
        assert (truth.values == 0.5).all()
    assert true_result("fog", replace(example, custom={}), NAMES) is None
    decoder = build_decoder("nano", "fog", NAMES)
    features = [torch.randn(2, 192, 64 // s, 64 // s) for s in (4, 8, 16, 32)]
    assert float(task_loss("fog", decoder, features, target, torch.Generator()).detach()) > 0


def test_targets_of_its_own_come_first() -> None:
    add_task(fog("scores", targets=lambda samples: [s.name for s in samples]))
    example = Example("a picture", np.zeros((6, 8, 3), np.uint8), custom={"fog": 1})
    sample = make_training_sample(example, (64, 64), None, ("fog",))
    assert collate(("fog",), [sample]).targets["fog"] == ["a picture"]


@pytest.mark.parametrize(("kind", "expected"), [("label_map", [1, 0, 2, 255]), ("scores", 2)])
def test_classes_of_other_names_are_brought_together(kind: OutputKind, expected: Any) -> None:
    add_task(fog(kind))
    table = match_classes("fog", ("b", "a", "c"), ("a", "b", "c"))
    example = Example("a picture", np.zeros((6, 8, 3), np.uint8), custom={"fog": LABELS[kind]})
    moved = relabel_example(example, "fog", table).custom["fog"]
    assert (moved[0, :4].tolist() if kind == "label_map" else moved) == expected


# -- decoders, recipes, checkpoints --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("build", "named"),
    [
        (lambda _v, _c: 7, "build must give a torch module with `infer` and `levels`.*; got int"),
        (lambda _v, _c: nn.Conv2d(1, 1, 1), "got Conv2d with levels None"),
        (
            lambda _v, _c: Plain(1, lambda maps: {"fog": maps[:, 0]}),
            r"does not fit kind 'label_map': expected outputs labels uint8 \(1, H, W\) .*"
            r"got fog float32 \(1, 64, 64\)",
        ),
        (lambda _v, _c: Plain(1, lambda maps: maps), r"does not fit .*, got $"),
    ],
)
def test_what_is_no_decoder_is_found_before_training(build: Any, named: str) -> None:
    add_task(fog(build=build))
    with pytest.raises(TaskError, match=named):
        build_decoder("nano", "fog", NAMES)


def test_a_recipe_takes_its_weight_and_says_what_is_missing() -> None:
    with pytest.raises(
        InputError, match=r"test: unknown task 'fog'; .*; a task of your own needs --task-file FILE"
    ):
        recipe_from({"tasks": ["fog"]}, "test")
    add_task(fog(weight=0.25))
    assert recipe_from({"tasks": ["fog", "seg"]}, "test").task_weights["fog"] == 0.25
    assert recipe_from({"tasks": ["fog"], "task_weights": {"fog": 2}}, "test").task_weights["fog"] == 2
    assert recipe_from({"tasks": ["seg"]}, "test").task_weights == Recipe().task_weights  # resumes as before


def test_the_command_line_loads_files_before_the_recipe(tmp_path: Path) -> None:
    file = tmp_path / "recipe.json"
    file.write_text(json.dumps({"tasks": ["ground", "seg"]}))
    given = ["--recipe", str(file), "--task-file", str(EXAMPLE)]
    assert recipe_of(parser().parse_args(given)).tasks == ("ground", "seg")


def test_a_checkpoint_says_which_file_it_needs_and_leaves_it_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    values = {
        "format_version": 1, "variant": "nano", "tasks": ["ground"], "classes": {"ground": list(NAMES)},
        "input_size": 64, "custom": {"ground": "near_ground.py"},
    }  # fmt: skip
    (tmp_path / "model.json").write_text(json.dumps(values))
    (tmp_path / "near_ground.py").write_text("raise AssertionError('a checkpoint must not run anything')")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(
        CheckpointError, match=r"unknown task 'ground'; .*--task-file FILE; .* trained with 'near_ground\.py'"
    ):
        load_checkpoint(tmp_path)


def test_the_example_learns_a_batch_by_heart() -> None:
    load_task_files([EXAMPLE])
    batch = fixed_batch("ground", [3, 8], 64)
    torch.manual_seed(0)
    decoder = build_decoder("nano", "ground", NAMES).train()
    features = [torch.randn(2, 192, 64 // s, 64 // s) for s in (4, 8, 16, 32)]
    optimiser = torch.optim.AdamW(decoder.parameters(), 3e-3)
    losses = []
    for _ in range(10):
        loss = task_loss("ground", decoder, features, batch.targets["ground"], torch.Generator())
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.7 * losses[0]
