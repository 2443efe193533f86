"""What a frame gives: small frozen records of arrays, in the original image's frame.

One class per output kind. objects.py has what is found and counted (boxes, masks, people), maps.py what every
pixel has (labels, values, normals, segments, anomalies), labels.py what the image as a whole is, frame.py the
results of one image under their tasks' names.
"""

from argus_edge.results.frame import Frame, Result
from argus_edge.results.labels import Classification
from argus_edge.results.maps import AnomalyMap, DenseMap, LabelMap, NormalMap, PanopticMap, Segment
from argus_edge.results.objects import Detections, Instances, Keypoints

__all__ = [
    "AnomalyMap",
    "Classification",
    "DenseMap",
    "Detections",
    "Frame",
    "Instances",
    "Keypoints",
    "LabelMap",
    "NormalMap",
    "PanopticMap",
    "Result",
    "Segment",
]
