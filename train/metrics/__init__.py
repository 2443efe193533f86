"""Metrics of the twelve tasks: numpy in, named figures out. What COCO defines goes through pycocotools."""

from argus_edge.train.metrics.anomaly import AnomalyAUROC, AnomalyTruth
from argus_edge.train.metrics.box_ap import BoxAP
from argus_edge.train.metrics.classification import Accuracy, VocMeanAP
from argus_edge.train.metrics.depth import NYU, SCENES, DepthMetrics, DepthProtocol
from argus_edge.train.metrics.edges import NYUD, PASCAL_CONTEXT, EdgeMetrics, EdgeProtocol
from argus_edge.train.metrics.keypoint_ap import KeypointAP, PoseTruth
from argus_edge.train.metrics.mask_ap import InstanceTruth, MaskAP
from argus_edge.train.metrics.mean_iou import MeanIoU
from argus_edge.train.metrics.metric import COUNTS, Metric, is_of_class, is_of_size
from argus_edge.train.metrics.normals import NormalMetrics
from argus_edge.train.metrics.panoptic_quality import PanopticQuality, PanopticTruth, TrueSegment
from argus_edge.train.metrics.saliency import ATRC, INVPT, MTI_NET, SOD, SaliencyMetrics, SaliencyProtocol
from argus_edge.train.metrics.table import PROTOCOLS, TASK_METRICS, TaskMetric

__all__ = [
    "ATRC",
    "COUNTS",
    "INVPT",
    "MTI_NET",
    "NYU",
    "NYUD",
    "PASCAL_CONTEXT",
    "PROTOCOLS",
    "SCENES",
    "SOD",
    "TASK_METRICS",
    "Accuracy",
    "AnomalyAUROC",
    "AnomalyTruth",
    "BoxAP",
    "DepthMetrics",
    "DepthProtocol",
    "EdgeMetrics",
    "EdgeProtocol",
    "InstanceTruth",
    "KeypointAP",
    "MaskAP",
    "MeanIoU",
    "Metric",
    "NormalMetrics",
    "PanopticQuality",
    "PanopticTruth",
    "PoseTruth",
    "SaliencyMetrics",
    "SaliencyProtocol",
    "TaskMetric",
    "TrueSegment",
    "VocMeanAP",
    "is_of_class",
    "is_of_size",
]
