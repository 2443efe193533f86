"""What the blocks of a scenario come to, and how two subjects compare."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from argus_edge.runtime.bench.scenarios import HEADLINE, Block, Scenario
from argus_edge.runtime.bench.statistics import (
    PERCENTILES,
    early_stopping,
    jitter,
    percentiles,
    queries_needed,
    ratio_interval,
)
from argus_edge.runtime.timing import noise

__all__ = ["compare", "noises", "summarise"]


def summarise(scenario: Scenario, blocks: Sequence[Block], joules: Mapping[str, float]) -> dict[str, Any]:
    """Counts, percentiles [ms], jitter, frame age, throughput and energy of the blocks of one scenario."""
    each = [np.array(block.latencies) for block in blocks]
    times = np.concatenate(each)
    frames = sum(block.frames for block in blocks)
    seconds = sum(block.seconds for block in blocks)
    found: dict[str, Any] = {
        "queries": len(times),
        "frames": frames,
        "seconds": round(seconds, 3),
        "frames_per_second": round(frames / seconds, 3),
        "joules": {rail: round(value, 3) for rail, value in joules.items()} or None,
        "joules_per_frame": {rail: round(value / frames, 4) for rail, value in joules.items()} or None,
    }
    if scenario != "Offline":
        found["latency_ms"] = percentiles(times)
        found["jitter_ms"] = jitter(each)
        found["early_stopping"] = _tail(times, HEADLINE[scenario])
    if scenario == "camera":
        found["dropped"] = sum(block.dropped for block in blocks)
        found["offered"] = frames + found["dropped"]
        found["age_ms"] = percentiles(np.concatenate([np.array(block.ages) for block in blocks]))
    return found


def _tail(times: np.ndarray[Any, np.dtype[np.float64]], name: str) -> dict[str, Any]:
    """The scenario's percentile as early stopping estimates it, None with the queries that it needs."""
    share = PERCENTILES[name]
    return {
        "percentile": name,
        "ms": early_stopping(times, share),
        "queries": len(times),
        "queries_needed": queries_needed(share),
    }


def noises(result: Mapping[str, Any]) -> list[str]:
    """A sentence for each scenario in which the machine was too noisy."""
    found = []
    for scenario in HEADLINE:
        times = {}
        for subject in result["subjects"]:
            if blocks := _blocks(subject, scenario):
                times[subject["name"]] = np.concatenate(blocks)
        if (sentence := noise(times)) is not None:
            found.append(f"{scenario}: {sentence}")
    return found


def compare(
    subject: Mapping[str, Any], reference: Mapping[str, Any], *, paired: bool, seed: int
) -> dict[str, Any]:
    """Scenario -> median latency of one by that of the other, with its interval.

    Offline, whose blocks are of different numbers of frames, is compared by time per frame.
    """
    found: dict[str, Any] = {}
    for scenario in subject["scenarios"]:
        ours, theirs = _blocks(subject, scenario), _blocks(reference, scenario)
        if paired:  # an interrupted run has one block more of some subjects
            ours, theirs = ours[: len(theirs)], theirs[: len(ours)]
        interval = ratio_interval(ours, theirs, paired=paired, seed=seed) if ours and theirs else None
        if interval is not None:
            found[scenario] = {
                "ratio": round(interval.ratio, 4),
                "low": round(interval.low, 4),
                "high": round(interval.high, 4),
                "tells": interval.tells,
            }
    return found


def _blocks(subject: Mapping[str, Any], scenario: str) -> list[np.ndarray[Any, np.dtype[np.float64]]]:
    """Times of each block [ms]."""
    of_scenario = subject["scenarios"].get(scenario)
    if of_scenario is None:
        return []
    if scenario == "Offline":
        return [np.array([1e3 * block["seconds"] / block["frames"]]) for block in of_scenario["blocks"]]
    return [np.array(block["latency_ms"]) for block in of_scenario["blocks"]]
