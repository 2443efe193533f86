"""Mean intersection over union from one confusion matrix of the whole set.

Everingham et al., "The PASCAL VOC Challenge", IJCV 2015; counts as mmsegmentation's IoUMetric takes them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, Protocol

import numpy as np
from numpy.typing import NDArray

from argus_edge.errors import InputError
from argus_edge.results import LabelMap
from argus_edge.train.metrics.metric import check_classes

IGNORE: Final = 255


class LabelTruth(Protocol):
    """Anything with a label map: a rendered scene, or a sample of a dataset."""

    @property
    def labels(self) -> NDArray[Any]:
        """Class ids (H, W) of an integer type, `IGNORE` where the truth does not say."""
        ...


class MeanIoU:
    """mIoU, mean class accuracy and pixel accuracy, as fractions in [0, 1].

    Pixels are pooled over the set, not averaged per image, and pixels whose truth is `ignore` do not count,
    whatever is predicted there. A class that occurs in neither truth nor prediction has no IoU and does not
    enter the mean; one that is predicted but never true has IoU 0 and does. Mean class accuracy is over
    the classes that occur in the truth. With every pixel ignored only the counts remain.
    """

    def __init__(self, class_names: Sequence[str], ignore: int = IGNORE, task: str = "seg") -> None:
        self.task = task  # named when classes differ
        self.class_names = tuple(class_names)
        self.ignore = ignore
        self._images = 0
        size = (len(self.class_names), len(self.class_names))
        self.confusion: NDArray[np.int64] = np.zeros(size, np.int64)  # [truth, prediction] in pixels

    @property
    def protocol(self) -> str:
        """Names the protocol."""
        return f"mIoU, pooled confusion matrix, {self.ignore} ignored, classes that never occur left out"

    def update(self, result: LabelMap, truth: LabelTruth | NDArray[Any]) -> None:
        """Add one image: predicted labels (H, W) and true labels (H, W), class ids, plain or as `labels`.

        Raises InputError when classes or sizes differ, or an id that counts is no class.
        """
        check_classes(self.task, result.class_names, self.class_names)
        predicted, true = np.asarray(result.labels), np.asarray(getattr(truth, "labels", truth))
        if predicted.shape != true.shape:
            raise InputError(
                f"label map is {predicted.shape} but the truth {true.shape}; sizes must be equal"
            )
        kept = true != self.ignore
        count = len(self.class_names)
        true, predicted = true[kept].astype(np.int64), predicted[kept].astype(np.int64)
        for name, ids in (("predicted", predicted), ("true", true)):
            if ids.size and not 0 <= ids.min() <= ids.max() < count:
                raise InputError(f"{name} labels span {ids.min()}..{ids.max()} but there are {count} classes")
        self._images += 1
        self.confusion += np.bincount(true * count + predicted, minlength=count**2).reshape(count, count)

    def result(self) -> dict[str, float]:
        """`mIoU`, `mean_accuracy`, `pixel_accuracy`, `IoU/<class>` for classes that occur, and the counts."""
        hit = np.diag(self.confusion)
        true, union = self.confusion.sum(1), self.confusion.sum(1) + self.confusion.sum(0) - hit
        figures: dict[str, float] = {}
        if true.sum():
            iou = {self.class_names[i]: float(hit[i] / union[i]) for i in np.flatnonzero(union)}
            figures["mIoU"] = float(np.mean(list(iou.values())))
            figures["mean_accuracy"] = float(np.mean(hit[true > 0] / true[true > 0]))
            figures["pixel_accuracy"] = float(hit.sum() / true.sum())
            figures |= {f"IoU/{name}": value for name, value in iou.items()}
        return figures | {"images": float(self._images), "pixels": float(true.sum())}
