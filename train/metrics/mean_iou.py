"""Mean intersection over union from one confusion matrix of the whole set.

Everingham et al., "The PASCAL VOC Challenge", IJCV 2015; counts as mmsegmentation's IoUMetric takes them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from argus_edge.errors import InputError
from argus_edge.results import LabelMap
from argus_edge.train.metrics.metric import check_classes

IGNORE: Final = 255
NO_CLASS: Final = 255  # in predictions


class MeanIoU:
    """mIoU, mean class accuracy and pixel accuracy, as fractions in [0, 1].

    Pixels are pooled over the set, not averaged per image, and pixels whose truth is `ignore` do not count,
    whatever is predicted there. A class that occurs in neither truth nor prediction has no IoU and does not
    enter the mean; one that is predicted but never true has IoU 0 and does. Mean class accuracy is over
    the classes that occur in the truth. A pixel predicted to be of no class (255) is wrong for its true class
    and for no other. With every pixel ignored only the counts remain.

    With `counted`, for data that has only some of the model's classes, just these class indices have an IoU
    and an accuracy and enter the means. Nothing else changes: a pixel predicted as another class is still
    wrong for its true class and for pixel accuracy.
    """

    def __init__(
        self,
        class_names: Sequence[str],
        ignore: int = IGNORE,
        task: str = "seg",
        counted: Sequence[int] | None = None,
    ) -> None:
        """Raises InputError when `counted` names no class, or one that there is not."""
        self.task = task  # named when classes differ
        self.class_names = tuple(class_names)
        self.ignore = ignore
        count = len(self.class_names)
        self.counted = tuple(range(count)) if counted is None else tuple(sorted(set(counted)))
        if counted is not None and (not self.counted or not set(self.counted) <= set(range(count))):
            raise InputError(
                f"classes to be counted are {list(counted)}; expected indices of {count} classes"
            )
        self._images = 0
        size = (count, count)
        self.confusion: NDArray[np.int64] = np.zeros(size, np.int64)  # [truth, prediction] in pixels
        self._unnamed: NDArray[np.int64] = np.zeros(count, np.int64)  # [truth] pixels predicted as no class

    @property
    def protocol(self) -> str:
        """Names the protocol."""
        count, every = len(self.counted), len(self.class_names)
        some = "" if count == every else f", {count} of {every} classes counted"
        return (
            f"mIoU, pooled confusion matrix, {self.ignore} ignored, classes that never occur left out{some}"
        )

    def update(self, result: LabelMap, truth: NDArray[Any]) -> None:
        """Add one image: predicted labels (H, W) and true labels (H, W), class ids, `ignore` where unknown.

        Raises InputError when classes or sizes differ, or an id that counts is no class.
        """
        check_classes(self.task, result.class_names, self.class_names)
        predicted, true = np.asarray(result.labels), np.asarray(truth)
        if predicted.shape != true.shape:
            raise InputError(
                f"label map is {predicted.shape} but the truth {true.shape}; sizes must be equal"
            )
        kept = true != self.ignore
        count = len(self.class_names)
        true, predicted = true[kept].astype(np.int64), predicted[kept].astype(np.int64)
        named = predicted != NO_CLASS
        for name, ids in (("predicted", predicted[named]), ("true", true)):
            if ids.size and not 0 <= ids.min() <= ids.max() < count:
                raise InputError(f"{name} labels span {ids.min()}..{ids.max()} but there are {count} classes")
        self._images += 1
        pairs = true[named] * count + predicted[named]
        self.confusion += np.bincount(pairs, minlength=count**2).reshape(count, count)
        self._unnamed += np.bincount(true[~named], minlength=count)

    def result(self) -> dict[str, float]:
        """`mIoU`, `mean_accuracy`, `pixel_accuracy`, `IoU/<class>` for classes that occur, and the counts."""
        hit, true = np.diag(self.confusion), self.confusion.sum(1) + self._unnamed
        union = true + self.confusion.sum(0) - hit
        pixels = int(true.sum())
        figures: dict[str, float] = {}
        if pixels:
            iou = {self.class_names[i]: float(hit[i] / union[i]) for i in self.counted if union[i]}
            accuracy = [hit[i] / true[i] for i in self.counted if true[i]]
            if iou:
                figures["mIoU"] = float(np.mean(list(iou.values())))
            if accuracy:
                figures["mean_accuracy"] = float(np.mean(accuracy))
            figures["pixel_accuracy"] = float(hit.sum() / pixels)
            figures |= {f"IoU/{name}": value for name, value in iou.items()}
        return figures | {"images": float(self._images), "pixels": float(pixels)}
