"""Which metric judges which task."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from argus_edge.train.metrics.anomaly import AnomalyAUROC
from argus_edge.train.metrics.box_ap import BoxAP
from argus_edge.train.metrics.classification import Accuracy, VocMeanAP
from argus_edge.train.metrics.depth import NYU, SCENES, DepthMetrics, DepthProtocol
from argus_edge.train.metrics.edges import NYUD, PASCAL_CONTEXT, EdgeMetrics, EdgeProtocol
from argus_edge.train.metrics.keypoint_ap import KeypointAP
from argus_edge.train.metrics.mask_ap import MaskAP
from argus_edge.train.metrics.mean_iou import MeanIoU
from argus_edge.train.metrics.metric import Metric
from argus_edge.train.metrics.normals import NormalMetrics
from argus_edge.train.metrics.panoptic_quality import PanopticQuality
from argus_edge.train.metrics.saliency import ATRC, INVPT, MTI_NET, SOD, SaliencyMetrics, SaliencyProtocol


@dataclass(frozen=True)
class TaskMetric:
    """One row: how a task is measured and which of the figures speak for it.

    `headline` figures are what a model is judged by and what a reduced precision has to keep, the primary
    one first; `errors` are the figures that are better when smaller.
    """

    make: Callable[[Sequence[str]], Metric[Any, Any]]  # from the task's class names
    headline: tuple[str, ...]
    errors: frozenset[str] = frozenset()

    @property
    def primary(self) -> str:
        """The figure that models are ranked by."""
        return self.headline[0]

    def kept(self, reference: Mapping[str, float], other: Mapping[str, float]) -> dict[str, float]:
        """Share of each headline figure that `other` keeps of `reference`; 1 is all of it, more is better.

        For errors the ratio is turned over, so that 0.98 always means "2 % worse". Figures that either side
        could not measure, or that leave nothing to divide by, are left out.
        """
        shares = {}
        for name in self.headline:
            if name in reference and name in other:
                above, below = other[name], reference[name]
                if name in self.errors:
                    above, below = below, above
                if below > 0:
                    shares[name] = above / below
        return shares


SCENE_EDGES: Final = EdgeProtocol(thin_truth=True, thresholds=19)
"""For rendered scenes: their boundaries have corners that thinning takes from predictions as well,
and 19 thresholds take a fifth of the time of the published 99."""


def _saliency(protocol: SaliencyProtocol) -> TaskMetric:
    return TaskMetric(lambda _: SaliencyMetrics(protocol), ("maxF",))


def _edges(protocol: EdgeProtocol) -> TaskMetric:
    return TaskMetric(lambda _: EdgeMetrics(protocol), ("odsF",))


def _depth(protocol: DepthProtocol) -> TaskMetric:
    errors = frozenset({"RMSE", "abs_rel", "log10"})
    return TaskMetric(lambda _: DepthMetrics(protocol), ("delta1", "RMSE"), errors)


PROTOCOLS: Final[dict[str, dict[str, TaskMetric]]] = {
    "sal": {
        "atrc": _saliency(ATRC),
        "invpt": _saliency(INVPT),
        "mti-net": _saliency(MTI_NET),
        "sod": _saliency(SOD),
    },
    "edge": {"nyud": _edges(NYUD), "pascal": _edges(PASCAL_CONTEXT), "scenes": _edges(SCENE_EDGES)},
    "depth": {"nyu": _depth(NYU), "scenes": _depth(SCENES)},
    "cls": {"accuracy": TaskMetric(Accuracy, ("top-1",)), "voc2007": TaskMetric(VocMeanAP, ("mAP",))},
}
"""The protocols of tasks that are published with several, by the names that users choose them by."""

TASK_METRICS: Final[dict[str, TaskMetric]] = {
    "det": TaskMetric(BoxAP, ("AP",)),
    "inst": TaskMetric(MaskAP, ("AP",)),
    "pan": TaskMetric(PanopticQuality, ("PQ",)),
    "seg": TaskMetric(MeanIoU, ("mIoU",)),
    "parse": TaskMetric(lambda names: MeanIoU(names, task="parse"), ("mIoU",)),
    "sal": PROTOCOLS["sal"]["atrc"],
    "edge": PROTOCOLS["edge"]["scenes"],
    "depth": PROTOCOLS["depth"]["scenes"],
    "normal": TaskMetric(
        lambda _: NormalMetrics(),
        ("mean_angle", "within_11.25"),
        frozenset({"mean_angle", "median_angle", "rms_angle"}),
    ),
    "pose": TaskMetric(lambda _: KeypointAP(), ("AP",)),
    "cls": PROTOCOLS["cls"]["accuracy"],
    "anom": TaskMetric(AnomalyAUROC, ("image_AUROC", "pixel_AUROC")),
}
