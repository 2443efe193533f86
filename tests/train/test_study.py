"""Study files: what they say of each run, and that a bad one is refused with the setting at fault."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from argus_edge.errors import InputError
from argus_edge.train.recipe import Phase
from argus_edge.train.study import load_study, scaled, study_from

STUDIES = Path(__file__).parents[2] / "benchmarks" / "studies"
PHASES = [{"steps": 100, "size": 96, "batch": 4}]


def study(**changes: Any) -> dict[str, Any]:
    base = {"tasks": ["seg", "depth"], "phases": PHASES, "batches": {"depth": 2}}
    return {"base": base, "runs": {"one": {}, "two": {"norm": "batch"}}} | changes


def test_runs_override_the_base(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(
        "title: Norms\nbase: {tasks: [seg, depth], batches: {depth: 2}, learning_rate: 1e-3}\n"
        "runs:\n  group:\n  batch: {norm: batch}\n  alone: {tasks: [seg], seed: 5}\n"
        "reference: group\nscenes: 7\n"
    )
    found = load_study(path)
    assert (found.title, found.reference, found.scenes) == ("Norms", ("group",), 7)
    assert [run.recipe.norm for run in found.runs] == ["group", "batch", "group"]
    assert {run.recipe.learning_rate for run in found.runs} == {1e-3}
    alone = found.run("alone")
    assert (alone.recipe.tasks, alone.recipe.seed, dict(alone.recipe.batches)) == (("seg",), 5, {})
    assert alone.settings == {"tasks": ["seg"], "seed": 5}
    assert found.measure == ("seg/mIoU", "depth/delta1", "depth/RMSE")


def test_a_run_starts_from_an_earlier_one() -> None:
    runs = {
        "first": {"first_scene": 1000},
        "whole": {"init": {"run": "first"}, "freeze": "backbone+adapter"},
        "vit": {"weights": {"run": "first"}},
        "shipped": {"weights": "train/checkpoints/nano"},
    }
    found = study_from(study(runs=runs), "here").runs
    assert [(run.init_from, run.vit_from, run.vit, run.earlier) for run in found] == [
        ("", "", "", ""),
        ("first", "", "", "first"),
        ("", "first", "", "first"),
        ("", "", "train/checkpoints/nano", ""),
    ]
    assert [run.recipe.first_scene for run in found] == [1000, 0, 0, 0]


def test_the_recipes_of_a_folder_are_runs(tmp_path: Path) -> None:
    for name, seed in (("b", 2), ("a", 1)):
        (tmp_path / f"{name}.yaml").write_text(f"seed: {seed}\ntasks: [seg]\n")
    found = load_study(tmp_path)
    assert [(run.name, run.recipe.seed) for run in found.runs] == [("a", 1), ("b", 2)]
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(InputError, match="expected recipes"):
        load_study(empty)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ([], "a study must be a mapping, got list"),
        (study(run={}), "unknown setting 'run'; known are title, base, runs"),
        (study(runs=None), "runs must be a mapping, got NoneType"),
        (study(runs={}), "runs must name at least one run"),
        (study(runs={"one": 3}), "run one must be a mapping, got int"),
        (study(runs={"../one": {}}), "a run cannot be called '../one'"),
        (study(runs={"scenes": {}}), "a run cannot be called 'scenes'"),
        (study(runs={"one": {"nrom": "batch"}}), "run one: unknown setting 'nrom'"),
        (study(runs={"one": {"norm": "layer"}}), "run one: norm must be one of group, batch, got 'layer'"),
        (study(runs={"one": {"tasks": ["flow"]}}), "run one: unknown task 'flow'"),
        (study(runs={"one": {"sizes": {"pose": 96}}}), "run one: sizes names task 'pose'"),
        (study(runs={"one": {"init": {"run": "two"}}, "two": {}}), "init must be {run: NAME} of a run above"),
        (study(runs={"one": {"weights": {"of": "one"}}}), "weights must be {run: NAME} of a run above"),
        (study(runs={"one": {"weights": 3}}), "run one: weights must be text"),
        (study(runs={"one": {"weights": "a", "init": "b"}}), "init brings a ViT, too"),
        (study(measure=["pose/AP"]), "measure names 'pose/AP'; expected task/figure with a task of seg"),
        (study(measure=["seg"]), "measure names 'seg'"),
        (study(measure=3), "measure must be a list of names"),
        (study(reference="three"), "no run 'three'; there are one, two"),
        (study(scenes=0), "scenes must be a whole number from 1, got 0"),
        (study(title=["x"]), "title must be text"),
    ],
)
def test_a_bad_study_is_refused(values: Any, message: str) -> None:
    with pytest.raises(InputError) as caught:
        study_from(values, "here.yaml")
    assert message in str(caught.value)


def test_a_file_that_is_no_study_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"none\.yaml: not a readable study file"):
        load_study(tmp_path / "none.yaml")
    path = tmp_path / "torn.yaml"
    path.write_text("runs: {a: [1\n")
    with pytest.raises(InputError, match=r"torn\.yaml: not valid YAML"):
        load_study(path)
    path.write_text(f"title: !!python/object/apply:os.mkdir ['{tmp_path / 'made'}']\n")
    with pytest.raises(InputError, match=r"torn\.yaml: not valid YAML"):
        load_study(path)
    assert not (tmp_path / "made").exists()


def test_all_that_counts_in_steps_is_scaled() -> None:
    recipe = study_from(study(), "here").runs[0].recipe
    tenth = scaled(recipe, 0.1)
    assert tenth.phases == (Phase(10, 96, 4),)
    assert (tenth.warmup, tenth.log_every, tenth.save_every, tenth.validate_every) == (5, 1, 10, 35)
    assert scaled(recipe, 0.0001).steps == 1
    assert scaled(recipe, 1.0) == recipe


@pytest.mark.parametrize("file", sorted(STUDIES.glob("*.yaml")), ids=lambda path: path.stem)
def test_the_studies_that_come_with_the_project_are_sound(file: Path) -> None:
    found = load_study(file)
    assert len(found.runs) > 1
    assert found.reference
    assert f"benchmarks/studies/{file.name} " in file.read_text()
    scenes = {(run.recipe.first_scene, run.recipe.scenes) for run in found.runs}
    ends = [first + count for first, count in sorted(scenes)]
    assert all(first >= end for end, (first, _) in zip(ends, sorted(scenes)[1:], strict=False))
