"""What an engine answers, against torch: relative error and signal-to-noise ratio of every output."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from argus_edge.export.components import CROP_BACKBONE
from argus_edge.runtime.engines import Array
from argus_edge.runtime.numerics import sqnr_db
from argus_edge.spec import BACKBONE, JsonValue, Precision
from argus_edge.train.model.decoders.masks import STEEPNESS

# Candidates whose scores are closer than this may swap places between two engines that are both right.
TIE: Final[dict[Precision, float]] = {"fp32": 1e-4, "fp16": 0.02, "int8": 0.1}
FP32_BOUND: Final = 1e-4  # relative error that fp32 may have
# ... and features of an enlarged crop: it is smooth, and there ONNX Runtime's GroupNormalization loses digits
# (2.4e-4 seen, where OpenVINO has 1e-5; the heatmaps made from them are within 1e-5).
CROP_BOUND: Final = 5e-4
# ... and unit vectors: where what they were made of is short, noise that is small beside the longest turns
# them (1.06e-4 seen, at a third of the median length, where all other outputs had 4e-5 at most).
UNIT_BOUND: Final = 5e-4
# ... or, where torch's own fp32 is off too, so many times the error of that: where an image is flat, the
# first norm magnifies the rounding of the convolution before it, whoever computes the two.
OWN_FACTOR: Final = 3
SAME_SHARE: Final = 0.01  # of a cell
MOST_EDGES: Final = 0.1  # of the candidates
BROKEN_DB: Final = 6.0  # noise of half the signal's amplitude


Frame = Mapping[str, Mapping[str, Array]]  # component -> output -> values


@dataclass(frozen=True)
class Deviation:
    """How far one output is off, over all frames.

    `error` is max |difference| / max |reference| for numbers, the share of elements that differ for labels
    and classes; `sqnr_db` is 20 log10(|reference| / |difference|) [dB], None for labels and classes and where
    nothing differs; `worst` is max |difference|, in the output's own unit, None for labels and classes.
    """

    error: float
    sqnr_db: float | None
    worst: float | None = None

    def to_json(self, own: float | None = None) -> JsonValue:
        """What a package's report says of it; `own`: the error of torch in single precision, if known."""
        row: dict[str, JsonValue] = {
            "error": float(f"{self.error:.3g}") if math.isfinite(self.error) else None
        }
        if self.sqnr_db is not None:
            row["sqnr_db"] = round(self.sqnr_db, 1)
        if self.worst is not None:
            row["worst"] = float(f"{self.worst:.3g}")
        if own is not None:
            row["torch_error"] = float(f"{own:.3g}")
        return row


def broken(deviation: Deviation, features: bool) -> bool:
    """Whether this is a fault and no rounding: not finite, or feature maps whose noise nears the signal."""
    noisy = deviation.sqnr_db is not None and deviation.sqnr_db < BROKEN_DB
    return not math.isfinite(deviation.error) or (features and noisy)


def judge(
    precision: Precision,
    engine: str,
    reference: Sequence[Frame],
    answers: Sequence[Frame],
    single: Callable[[int], Frame] | None = None,
) -> tuple[dict[str, JsonValue], list[str]]:
    """The rows of the report for one engine, by "component.output", and what cannot be right, for people.

    The sequences hold one mapping per frame: component -> output -> values. `single` gives what torch answers
    to one of the frames in single precision; it is asked only where fp32 is off by more than the bounds.
    """
    rows: dict[str, JsonValue] = {}
    wrong = []
    for component in answers[0]:
        wanted = [{name: frame[component][name] for name in answers[0][component]} for frame in reference]
        given = [frame[component] for frame in answers]
        for name, off in compare(wanted, given, precision).items():
            bound, own = _fp32_bound(component, name), None
            if precision == "fp32" and single is not None and bound < off.error < math.inf:
                own = _own_error(component, name, wanted, given, bound, single)
                bound = max(bound, OWN_FACTOR * own)
            rows[f"{component}.{name}"] = off.to_json(own)
            if precision == "fp32" and not off.error <= bound:
                wrong.append(
                    f"{component}.{name} on {engine}: fp32 differs from torch by {off.error:.2e} (relative), "
                    f"at most {bound:.0e} is accepted"
                )
            elif broken(off, features=component in (BACKBONE, CROP_BACKBONE)):
                wrong.append(
                    f"{component}.{name} on {engine}: {precision} is plainly wrong (error {off.error:.2g}, "
                    f"SQNR {off.sqnr_db} dB)"
                )
    return rows, wrong


def _own_error(
    component: str,
    output: str,
    wanted: Sequence[Mapping[str, Array]],
    given: Sequence[Mapping[str, Array]],
    bound: float,
    single: Callable[[int], Frame],
) -> float:
    """The error of torch in single precision on those frames where `given` is off by more than `bound`.

    There is one if it is off on the whole: a frame's own values are no greater than those of all.
    """
    pairs = enumerate(zip(wanted, given, strict=True))
    off = [i for i, (reference, actual) in pairs if compare([reference], [actual])[output].error > bound]
    return compare([wanted[i] for i in off], [single(i)[component] for i in off])[output].error


def _fp32_bound(component: str, output: str) -> float:
    if component == CROP_BACKBONE:
        return CROP_BOUND
    return UNIT_BOUND if output == "normals" else FP32_BOUND


def compare(
    reference: Sequence[Mapping[str, Array]],
    actual: Sequence[Mapping[str, Array]],
    precision: Precision = "fp32",
) -> dict[str, Deviation]:
    """Deviation of every output; both sequences hold one mapping per frame."""
    aligned = [align_candidates(r, a, TIE[precision]) for r, a in zip(reference, actual, strict=True)]
    if precision == "fp32":
        aligned = [(r, without_edges(r, a)) for r, a in aligned]
    return {
        name: _deviation([r[name] for r, _ in aligned], [a[name] for _, a in aligned])
        for name in reference[0]
    }


def _deviation(references: Sequence[Array], actuals: Sequence[Array]) -> Deviation:
    reference = np.concatenate([r.reshape(-1) for r in references])
    actual = np.concatenate([a.reshape(-1) for a in actuals])
    if np.issubdtype(reference.dtype, np.integer):
        return Deviation(float(np.mean(reference != actual)) if reference.size else 0.0, None)
    difference = actual.astype(np.float64) - reference
    if not np.isfinite(difference).all():
        return Deviation(math.inf, None)
    largest = float(np.abs(reference).max(initial=0.0))
    worst = float(np.abs(difference).max(initial=0.0))
    return Deviation(worst / max(largest, 1e-12), sqnr_db(reference, actual), worst)


def without_edges(reference: Mapping[str, Array], actual: Mapping[str, Array]) -> Mapping[str, Array]:
    """`actual` with the reference's scores where a mask has a cell of which one of them counts more than the
    other, in at most a tenth of the candidates.

    A mask's score is the mean certainty of the cells in it, and one whose logit is next to 0 counts as much
    as rounding has it (`mask_certainty`), which changes the score of a small mask by a percent. The logits
    themselves are compared as they are.
    """
    if not {"scores", "masks"} <= reference.keys() or not reference["scores"].size:
        return actual
    counted = (np.clip(each["masks"] * STEEPNESS, 0, 1) for each in (reference, actual))
    edges = (np.abs(np.subtract(*counted)) > SAME_SHARE).any(axis=(-2, -1))
    if edges.mean() > MOST_EDGES:
        return actual
    return {**actual, "scores": np.where(edges, reference["scores"], actual["scores"])}


def align_candidates(
    reference: Mapping[str, Array], actual: Mapping[str, Array], tie: float
) -> tuple[Mapping[str, Array], Mapping[str, Array]]:
    """Undo swaps between candidates of (nearly) equal score, which a sorted top-k leaves to chance.

    Candidates that tie with the last one are left out on both sides: which made the cut is chance too. Scores
    are compared rank by rank. Outputs that are no scored boxes pass unchanged.
    """
    if not {"scores", "boxes"} <= reference.keys():
        return reference, actual
    scores, other = reference["scores"][0], actual["scores"][0]
    kept = np.flatnonzero(scores > scores[-1] + tie)
    partners: list[int] = []
    free = set(range(len(other)))
    for i in kept:
        tied = [j for j in free if abs(float(other[j]) - float(scores[i])) <= tie] or [int(i)]
        distance = [
            float(np.abs(actual["boxes"][0, j] - reference["boxes"][0, i]).max())
            + float(actual["classes"][0, j] != reference["classes"][0, i])
            for j in tied
        ]
        partners.append(tied[int(np.argmin(distance))])
        free.discard(partners[-1])
    return (
        {name: value[:, kept] for name, value in reference.items()},
        {name: value[:, kept if name == "scores" else partners] for name, value in actual.items()},
    )
