"""What a model package declares: its input, its tasks, its graphs and the tensors between them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Final, Literal, TypeAlias

from argus_edge.tasks import TaskSpec, get_task

__all__ = [
    "BACKBONE",
    "IMAGE_TENSOR",
    "PERSONS_TENSOR",
    "PRECISIONS",
    "ComponentSpec",
    "FileEntry",
    "GoldenSpec",
    "ImageSpec",
    "JsonValue",
    "PackageSpec",
    "Precision",
    "QuantizationSpec",
    "TaskEntry",
    "TensorSpec",
    "VariantSpec",
]

JsonValue: TypeAlias = bool | int | float | str | list["JsonValue"] | dict[str, "JsonValue"] | None
Precision = Literal["fp32", "fp16", "int8"]

PRECISIONS: Final[tuple[Precision, ...]] = ("fp32", "fp16", "int8")
BACKBONE: Final = "backbone"
IMAGE_TENSOR: Final = "image"
PERSONS_TENSOR: Final = "persons"


@dataclass(frozen=True, slots=True)
class ImageSpec:
    """The network's input: (batch, height, width, 3) uint8 RGB images in NHWC order, values 0-255.

    `resize` names how an image gets there: its aspect is kept, an antialiased triangle filter is used
    (`bilinear_antialias`), it lies at the top left and the rest holds `pad_color` (RGB, 0-255).
    """

    height: int  # [px]
    width: int  # [px]
    dtype: Literal["uint8"] = "uint8"
    layout: Literal["NHWC"] = "NHWC"
    color: Literal["RGB"] = "RGB"
    resize: Literal["bilinear_antialias"] = "bilinear_antialias"
    placement: Literal["top_left"] = "top_left"
    pad_color: tuple[int, int, int] = (124, 116, 104)
    batch: int = 1  # images at once

    @property
    def size(self) -> str:
        """Its sides as "HEIGHTxWIDTH" [px], such as "320x448"; "4x320x448" where it is 4 images at once."""
        sides = f"{self.height}x{self.width}"
        return sides if self.batch == 1 else f"{self.batch}x{sides}"

    @property
    def tensor(self) -> TensorSpec:
        """The backbone's input tensor that this image becomes."""
        shape = (self.batch, self.height, self.width, 3)
        return TensorSpec(IMAGE_TENSOR, self.dtype, shape, self.layout)


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """One tensor at the boundary of a graph.

    `layout` has one letter per axis: N batch, C channel, H row, W column, K candidate, X coordinate.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    layout: str


@dataclass(frozen=True, slots=True)
class QuantizationSpec:
    """How an int8 graph came about: the recipe's name and the images it was calibrated on."""

    recipe: str
    calibration_sha256: str
    calibration_images: int


@dataclass(frozen=True, slots=True)
class VariantSpec:
    """One form of a component. `file` is the graph's name inside the variant's own folder.

    `ep` is the execution provider ONNX Runtime selects the variant by; other engines read the same file.
    """

    precision: Precision
    file: str = "model.onnx"
    ep: str = "CPUExecutionProvider"
    quantization: QuantizationSpec | None = None


@dataclass(frozen=True, slots=True)
class ComponentSpec:
    """One graph: a backbone or a decoder, with the tensors at its boundary; the same in every variant.

    `variants` have different names in every size of the network's input that a package has.
    """

    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    variants: Mapping[str, VariantSpec]

    @property
    def is_backbone(self) -> bool:
        """Whether the graph reads an image and nothing else."""
        return [tensor.name for tensor in self.inputs] == [IMAGE_TENSOR]

    @property
    def persons(self) -> TensorSpec | None:
        """The input that takes the boxes of P persons, (P, 4) xyxy in [0, 1] of the network input, if any."""
        return next((tensor for tensor in self.inputs if tensor.name == PERSONS_TENSOR), None)


@dataclass(frozen=True, slots=True)
class TaskEntry:
    """One task of a package: the component that decodes it and its class names (empty where it has none).

    For `pose` the names are those of the keypoints. The first `things` classes of a panoptic task are
    countable. `backbone` is the component whose features the decoder reads; only `pose` may name another than
    the package's own, which then sees each person's crop instead of the whole image. `custom` is the row of a
    task that is none of the twelve: the package brings it along, so that nothing else has to know the task.
    """

    component: str
    classes: tuple[str, ...] = ()
    things: int = 0
    backbone: str = BACKBONE
    custom: TaskSpec | None = None

    def row(self, task: str) -> TaskSpec:
        """The row of the task `task`, whose entry this is. Raises TaskError when there is none."""
        return self.custom or get_task(task)


@dataclass(frozen=True, slots=True)
class GoldenSpec:
    """A recorded input and what the model answered to it, for the graphs of `precision` to be compared with.

    `image` and the values of `outputs` (component -> tensor name -> file) are paths inside the package. Each
    file holds a tensor's values in C order, little-endian, nothing else: its TensorSpec says shape and dtype.
    `inputs`, of the same form, holds what neither `image` nor a backbone gives: the persons of `pose`, the
    crop that another backbone saw.
    """

    image: str
    precision: Precision
    outputs: Mapping[str, Mapping[str, str]]
    inputs: Mapping[str, Mapping[str, str]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class FileEntry:
    """One file of a package as its manifest lists it."""

    size: int  # [bytes]
    sha256: str  # 64 lower-case hexadecimal digits


@dataclass(frozen=True, slots=True)
class PackageSpec:
    """Everything a package declares about itself; `report` is what export measured (parity, accuracy).

    `input` takes one image. `other_sizes` are further inputs, which differ from it in their sides and in the
    number of images alone, with the same components as `components`; see `at`.
    """

    name: str
    input: ImageSpec
    tasks: Mapping[str, TaskEntry]
    components: Mapping[str, ComponentSpec]
    golden: GoldenSpec | None = None
    report: Mapping[str, JsonValue] = field(default_factory=dict)
    other_sizes: Mapping[ImageSpec, Mapping[str, ComponentSpec]] = field(default_factory=dict)

    @property
    def inputs(self) -> tuple[ImageSpec, ...]:
        """The network's input in every size, `input` first."""
        return (self.input, *self.other_sizes)

    def at(self, image: ImageSpec) -> PackageSpec:
        """The same package as if it had the size of `image`, one of `inputs`, and no other."""
        if image == self.input:
            return replace(self, other_sizes={})
        return replace(self, input=image, components=self.other_sizes[image], golden=None, other_sizes={})

    @property
    def precisions(self) -> tuple[Precision, ...]:
        """The precisions in which every component exists, highest first."""
        each = [{v.precision for v in c.variants.values()} for c in self.components.values()]
        return tuple(p for p in PRECISIONS if all(p in have for have in each))

    @property
    def target(self) -> str:
        """The family of engines that the graphs were exported for, as the report says; "cpu" where it does
        not.
        """
        target = self.report.get("target")
        return target if isinstance(target, str) else "cpu"

    @property
    def extra_inputs(self) -> dict[str, TensorSpec]:
        """Component -> its one input that is neither `input` nor a feature: persons, or another's image."""
        found = {}
        for name, component in self.components.items():
            tensor = component.persons
            if component.is_backbone and name != BACKBONE:
                tensor = component.inputs[0]
            if tensor is not None:
                found[name] = tensor
        return found
