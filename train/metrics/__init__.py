"""Metrics of the tasks: numpy in, named figures out. Boxes go through pycocotools."""

from argus_edge.train.metrics.box_ap import BoxAP
from argus_edge.train.metrics.depth import NYU, SCENES, DepthMetrics, DepthProtocol
from argus_edge.train.metrics.mean_iou import MeanIoU
from argus_edge.train.metrics.metric import COUNTS, Metric
from argus_edge.train.metrics.table import TASK_METRICS, TaskMetric

__all__ = [
    "COUNTS",
    "NYU",
    "SCENES",
    "TASK_METRICS",
    "BoxAP",
    "DepthMetrics",
    "DepthProtocol",
    "MeanIoU",
    "Metric",
    "TaskMetric",
]
