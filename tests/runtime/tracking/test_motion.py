"""The four filters that share their covariance against one Kalman filter of eight states, in matrices."""

from __future__ import annotations

import numpy as np

from argus_edge.runtime.tracking.motion import (
    ACCELERATION,
    FIRST_SPEED,
    MEASURED,
    correct,
    predict,
    start,
    to_boxes,
    to_places,
)


def test_tracks_move_as_a_kalman_filter_of_eight_states() -> None:
    random = np.random.default_rng(0)
    boxes = np.array([[10.0, 20, 50, 60]])
    tracks = start(np.array([7]), np.array([0]), boxes, 0.0)
    side = 40.0
    state = np.append(to_places(boxes)[0], np.zeros(4))
    covariance = np.diag([(MEASURED * side) ** 2] * 4 + [(FIRST_SPEED * side) ** 2] * 4)
    for step in range(12):
        seconds = random.uniform(0.01, 0.5)
        side = float(np.sqrt(state[2] * state[3]))
        move = np.kron([[1, seconds], [0, 1]], np.eye(4))
        noise = np.kron([[seconds**3 / 3, seconds**2 / 2], [seconds**2 / 2, seconds]], np.eye(4))
        state = move @ state
        covariance = move @ covariance @ move.T + (ACCELERATION * side) ** 2 * noise
        predict(tracks, seconds)
        np.testing.assert_allclose(tracks["place"][0], state[:4], rtol=1e-9)
        if step % 3 == 2:
            continue  # not seen
        measured = np.array([30 + 5 * step, 40, 40 + step, 40]) + random.normal(0, 1, 4)
        pick = np.eye(4, 8)
        side = float(np.sqrt(state[2] * state[3]))
        gain = (
            covariance
            @ pick.T
            @ np.linalg.inv(pick @ covariance @ pick.T + (MEASURED * side) ** 2 * np.eye(4))
        )
        state = state + gain @ (measured - pick @ state)
        covariance = (np.eye(8) - gain @ pick) @ covariance
        correct(tracks, np.array([0]), measured[None])
        np.testing.assert_allclose(np.append(tracks["place"][0], tracks["speed"][0]), state, rtol=1e-9)
        shared = tracks["covariance"][0]
        np.testing.assert_allclose(shared, [covariance[0, 0], covariance[0, 4], covariance[4, 4]], rtol=1e-9)


def test_a_box_does_not_shrink_to_nothing() -> None:
    tracks = start(np.array([1]), np.array([0]), np.array([[0.0, 0, 10, 10]]), 0.0)
    tracks["speed"][0, 2:] = -100
    predict(tracks, 1.0)
    np.testing.assert_array_equal(tracks["place"][0, 2:], 1)


def test_boxes_and_places_are_each_others_inverse() -> None:
    boxes = np.array([[1.0, 2, 11, 22], [-5, 0, 0, 3]])
    np.testing.assert_array_equal(to_places(boxes), [[6, 12, 10, 20], [-2.5, 1.5, 5, 3]])
    np.testing.assert_array_equal(to_boxes(to_places(boxes)), boxes)
