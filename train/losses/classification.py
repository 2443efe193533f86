"""Cross entropy of whole images."""

from collections.abc import Mapping

from torch import Tensor
from torch.nn import functional


def classification_loss(outputs: Mapping[str, Tensor], labels: Tensor, smoothing: float = 0.0) -> Tensor:
    """Mean over the batch; 0 for an empty one.

    outputs `logits` (B, K); labels (B,) int64; `smoothing` is the share of the truth that is spread evenly
    over all classes.
    """
    logits = outputs["logits"].float()
    total = functional.cross_entropy(logits, labels, reduction="sum", label_smoothing=smoothing)
    return total / max(len(labels), 1)
