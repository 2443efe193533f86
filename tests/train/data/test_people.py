"""Keypoints and body parts against the bodies they are made from, and against the other maps."""

from __future__ import annotations

import itertools
from dataclasses import replace
from typing import Final, TypeVar

import numpy as np
import pytest
from numpy.typing import NDArray

from argus_edge.keypoints import FLIP_PAIRS, KEYPOINT_NAMES
from argus_edge.train.data.scenes import PART_CLASSES, SEG_CLASSES, Scene, render, render_clip
from argus_edge.train.data.scenes.camera import View
from argus_edge.train.data.scenes.layout import PERSON, compose
from argus_edge.train.data.scenes.parts import PART_LABELS, Part
from argus_edge.train.data.scenes.people import build_person, random_looks
from argus_edge.train.data.scenes.poses import Pose, random_pose
from argus_edge.train.data.scenes.primitives import Box, Primitive, RoundCone
from argus_edge.train.data.scenes.render import draw
from argus_edge.train.data.scenes.scene import FIRST_THING
from argus_edge.train.data.scenes.textures import Texture
from argus_edge.train.data.scenes.world import Person, World

T = TypeVar("T", bound=np.generic)

FACE, BODY = slice(0, 5), slice(5, 17)
VISIBLE, HIDDEN, OUTSIDE = 2, 1, 0
HOLDERS: Final = {
    "nose": {"head"}, "eye": {"head"}, "ear": {"head"}, "shoulder": {"torso", "upper arm"},
    "elbow": {"upper arm", "lower arm"}, "wrist": {"lower arm"}, "hip": {"torso", "upper leg"},
    "knee": {"upper leg", "lower leg"}, "ankle": {"lower leg"},
}  # fmt: skip


def someone(heading: float = np.pi) -> Person:
    """An adult at ease, 4 m ahead of the camera, who faces it unless turned, in trousers and short hair."""
    looks = replace(
        random_looks(np.random.default_rng(1)), height=1.7, girth=1.0, skirt=False, hair_style=1, legs=2
    )
    pose = Pose(shoulder=(0.0, 0.0), arm_spread=(0.5, 0.5))
    return Person(looks, pose, 1, (4.0, 0.0, 0.0), heading)


def stage(person: Person, *things: Primitive, yaw: float = 0.0) -> World:
    ground = compose(0).solids[0]
    view = View((0.0, 0.0, 1.0), yaw=yaw, pitch=0.0, roll=0.0, field_of_view=np.pi / 3)
    classes = {1: PERSON, **{thing.instance: thing.label - FIRST_THING for thing in things}}
    return replace(compose(0), solids=(ground, *things), people=(person,), classes=classes, view=view)


def seen(world: World) -> NDArray[np.float32]:
    """Keypoints (17, 3) of the one person."""
    (person,) = draw(world, (240, 240)).people
    return person.keypoints


def around(values: NDArray[T], x: float, y: float, reach: int) -> NDArray[T]:
    row, column = int(y), int(x)
    return values[max(row - reach, 0) : row + reach + 1, max(column - reach, 0) : column + reach + 1]


@pytest.mark.parametrize("seed", range(12))
def test_joints_are_where_the_limbs_meet(seed: int) -> None:
    rng = np.random.default_rng(seed)
    figure = build_person(
        random_looks(rng), random_pose(rng, seated=seed % 3 == 0), np.array([1.0, 2.0, 0.0]), seed, 7
    )
    joints = dict(zip(KEYPOINT_NAMES, figure.joints, strict=True))
    limbs = {part: [p for p in figure.pieces if p.part == part] for part in Part}
    for side, name in enumerate(("left", "right")):
        for part, start, end in (
            (Part.UPPER_ARM, "shoulder", "elbow"), (Part.FOREARM, "elbow", "wrist"),
            (Part.THIGH, "hip", "knee"), (Part.SHIN, "knee", "ankle"),
        ):  # fmt: skip
            limb = limbs[part][side]
            assert isinstance(limb.shape, RoundCone)
            tip = limb.position + limb.shape.length * limb.axes[:, 2]
            np.testing.assert_allclose(joints[f"{name}_{start}"], limb.position, atol=1e-9)
            np.testing.assert_allclose(joints[f"{name}_{end}"], tip, atol=1e-9)
    head = limbs[Part.HEAD][0]
    for name in KEYPOINT_NAMES[FACE]:
        local = np.linalg.solve(head.axes, joints[name] - head.position)
        assert 0.85 < np.linalg.norm(local) < 1.2, name  # near the surface of the head, a unit ball


def test_left_is_the_person_s_own_left_and_the_nose_is_ahead() -> None:
    figure = build_person(random_looks(np.random.default_rng(0)), Pose(), np.zeros(3), 0.0, 1)
    x, y, z = figure.joints.T  # facing x, left is y
    for left, right in FLIP_PAIRS:
        assert y[left] > 0.01 > -0.01 > y[right]
        np.testing.assert_allclose(figure.joints[left], figure.joints[right] * (1, -1, 1), atol=1e-9)
    assert x[0] == max(x[FACE])
    heights = [
        z[KEYPOINT_NAMES.index(f"left_{name}")] for name in ("eye", "shoulder", "hip", "knee", "ankle")
    ]
    assert heights == sorted(heights, reverse=True)


def test_someone_in_full_view_is_seen_but_for_what_the_head_hides() -> None:
    front, back = seen(stage(someone(np.pi))), seen(stage(someone(0.0)))
    assert (front[:, 2] == VISIBLE).all()
    assert (back[:3, 2] == HIDDEN).all()  # nose and eyes
    assert (back[BODY, 2] == VISIBLE).all()
    shoulders = [KEYPOINT_NAMES.index(f"{side}_shoulder") for side in ("left", "right")]
    assert front[shoulders[0], 0] > front[shoulders[1], 0]  # facing us, their left is on our right
    assert back[shoulders[0], 0] < back[shoulders[1], 0]


def test_from_the_side_the_far_half_is_hidden() -> None:
    person = replace(someone(-0.5 * np.pi), pose=Pose(arm_spread=(0.05, 0.05)))  # their right side is nearer
    keypoints = dict(zip(KEYPOINT_NAMES, seen(stage(person))[:, 2], strict=True))
    assert {keypoints[f"right_{name}"] for name in ("eye", "ear", "shoulder", "elbow", "wrist", "knee")} == {
        2
    }
    assert {keypoints[f"left_{name}"] for name in ("eye", "ear", "shoulder", "elbow", "hip", "knee")} == {1}


def test_a_box_hides_the_legs_behind_it() -> None:
    grey = Texture("solid", (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
    box = Primitive(Box(), np.diag([0.2, 1.0, 0.3]), np.array([3.0, 0, 0.3]), grey, FIRST_THING, instance=2)
    keypoints = dict(zip(KEYPOINT_NAMES, seen(stage(someone(), box))[:, 2], strict=True))
    hidden = {name for name, visibility in keypoints.items() if visibility == HIDDEN}
    assert hidden == {"left_knee", "right_knee", "left_ankle", "right_ankle"}


def test_what_is_outside_the_image_is_nought() -> None:
    keypoints = seen(stage(someone(), yaw=0.55))  # looking past them
    outside = keypoints[:, 2] == OUTSIDE
    assert 0 < outside.sum() < 17
    assert (keypoints[outside] == 0).all()
    assert ((keypoints[~outside, :2] > 0) & (keypoints[~outside, :2] < 240)).all()


def test_keypoints_project_the_joints() -> None:
    for seed in range(620, 640):
        scene, bodies = render(seed, 96), {f.instance: f for f in compose(seed).figures()}
        for person in scene.people:
            known = person.keypoints[:, 2] > 0
            expected = scene.camera.project(bodies[person.instance_id].joints)[known]
            np.testing.assert_allclose(person.keypoints[known, :2], expected[:, :2], atol=1e-3)


def test_a_visible_keypoint_lies_in_its_person(many_scenes: list[Scene]) -> None:
    count = {VISIBLE: 0, HIDDEN: 0, OUTSIDE: 0}
    for scene in many_scenes:
        for person in scene.people:
            for x, y, visibility in person.keypoints.tolist():
                count[int(visibility)] += 1
                if visibility == VISIBLE:
                    assert (around(scene.instances, x, y, reach=2) == person.instance_id).any()
    assert min(count.values()) > len(many_scenes)


def test_a_hidden_keypoint_has_something_before_it(many_scenes: list[Scene]) -> None:
    """But for limbs too thin to be seen at all."""
    before = total = 0
    for scene in many_scenes:
        bodies = {f.instance: f for f in compose(scene.seed).figures()}
        for person in scene.people:
            distance = scene.camera.project(bodies[person.instance_id].joints)[:, 2]
            for (x, y, visibility), z in zip(person.keypoints.tolist(), distance, strict=True):
                if visibility == HIDDEN:
                    total += 1
                    before += 0 < scene.depth[int(y), int(x)] < z
    assert before > 0.99 * total > len(many_scenes)


def test_visible_keypoints_lie_on_their_parts(many_scenes: list[Scene]) -> None:
    on = total = 0
    for scene in many_scenes:
        for person in scene.people:
            for name, (x, y, visibility) in zip(KEYPOINT_NAMES, person.keypoints.tolist(), strict=True):
                if visibility == VISIBLE:
                    near = {PART_CLASSES[k] for k in np.unique(around(scene.parts, x, y, reach=1))}
                    total += 1
                    on += bool(near & HOLDERS[name.split("_")[-1]])
    assert on > 0.99 * total > 5 * len(many_scenes)


def test_parts_are_where_people_are(many_scenes: list[Scene]) -> None:
    seen_parts = set()
    for scene in many_scenes:
        np.testing.assert_array_equal(scene.parts > 0, scene.labels == SEG_CLASSES.index("person"))
        seen_parts |= set(np.unique(scene.parts).tolist())
        assert [p.instance_id for p in scene.people] == [
            o.instance_id for o in scene.objects if o.class_name == "person"
        ]
    assert seen_parts == set(range(len(PART_CLASSES)))


def test_every_piece_of_a_body_has_a_part() -> None:
    assert PART_LABELS[Part.WHOLE] == 0
    assert (PART_LABELS[1:] > 0).all()
    assert set(PART_LABELS) == set(range(len(PART_CLASSES)))


def test_keypoints_move_with_walkers() -> None:
    frames = list(render_clip(30_000_003, 4, (96, 128)))
    for now, after in itertools.pairwise(frames):
        later = {p.instance_id: p.keypoints for p in after.people}
        for person in now.people:
            if person.instance_id in later:
                both = (person.keypoints[:, 2] > 0) & (later[person.instance_id][:, 2] > 0)
                step = person.keypoints[both, :2] - later[person.instance_id][both, :2]
                assert np.abs(step).max(initial=0) < 12  # [px] in a 25th of a second
