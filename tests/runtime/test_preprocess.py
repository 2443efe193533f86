"""Preprocessing: the compiled one and its numpy reference obey the same rule, which is PIL's."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from argus_edge.errors import ImageError, InputError
from argus_edge.geometry import Letterbox
from argus_edge.runtime import _native
from argus_edge.runtime.preprocess import MAX_SIDE, PixelFormat, check_image, preprocess, to_rgb
from argus_edge.spec import ImageSpec
from tests.runtime.references.preprocess import preprocess_reference

Preprocess = Callable[..., tuple[NDArray[np.uint8], Letterbox]]

SPEC = ImageSpec(320, 320)
SIZES = [(480, 640), (321, 517), (64, 48), (320, 320), (1, 1), (1, 900), (700, 2), (1080, 1920)]
LEVEL = 1  # largest difference allowed between two implementations, levels of 255

both = pytest.mark.parametrize("run", [preprocess, preprocess_reference], ids=["c++", "numpy"])


def noise(height: int, width: int, seed: int = 0) -> NDArray[np.uint8]:
    """Pixels without any correlation: the hardest picture to resize alike."""
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def difference(left: NDArray[np.uint8], right: NDArray[np.uint8]) -> int:
    return int(np.abs(left.astype(int) - right.astype(int)).max())


@both
@pytest.mark.parametrize(("height", "width"), SIZES)
def test_resizes_as_pil_does_and_pads_the_rest(run: Preprocess, height: int, width: int) -> None:
    image = noise(height, width)
    tensor, letterbox = run(image, SPEC)
    h, w = letterbox.resized_height, letterbox.resized_width
    expected = np.asarray(Image.fromarray(image).resize((w, h), Image.Resampling.BILINEAR))

    assert tensor.shape == (1, 320, 320, 3)
    assert tensor.dtype == np.uint8
    assert max(h, w) == 320
    assert difference(tensor[0, :h, :w], expected) <= LEVEL
    assert (tensor[0, h:] == SPEC.pad_color).all()
    assert (tensor[0, :, w:] == SPEC.pad_color).all()


@pytest.mark.parametrize(("height", "width"), [*SIZES, (2160, 4096)])
@pytest.mark.parametrize("spec", [SPEC, ImageSpec(224, 448)], ids=["square", "wide"])
def test_both_implementations_agree(height: int, width: int, spec: ImageSpec) -> None:
    image = noise(height, width, seed=1)
    compiled, reference = preprocess(image, spec), preprocess_reference(image, spec)
    assert compiled[1] == reference[1]
    assert difference(compiled[0], reference[0]) <= LEVEL


@both
def test_an_image_of_the_right_size_passes_unchanged(run: Preprocess) -> None:
    image = noise(320, 320)
    assert (run(image, SPEC)[0][0] == image).all()


@both
def test_levels_are_kept_in_flat_areas(run: Preprocess) -> None:
    for level in (0, 1, 127, 254, 255):
        tensor, letterbox = run(np.full((333, 777, 3), level, np.uint8), SPEC)
        assert (tensor[0, : letterbox.resized_height] == level).all()


@both
@pytest.mark.parametrize(
    "view",
    [
        lambda image: image[:, :, ::-1],
        lambda image: image[::-1],
        lambda image: image[:, ::-1],
        lambda image: image[::2, 1::3],
        lambda image: np.asfortranarray(image),
        lambda image: np.concatenate([image, image[:, :, :1]], axis=2)[:, :, :3],
        lambda image: np.broadcast_to(image[:1, :1], image.shape),
    ],
    ids=["bgr", "upside-down", "mirrored", "cut", "column-major", "rgba", "broadcast"],
)
def test_strides_do_not_matter(run: Preprocess, view: Callable[[Any], NDArray[np.uint8]]) -> None:
    image = view(noise(123, 457))
    packed = np.ascontiguousarray(image)
    assert (run(image, SPEC)[0] == run(packed, SPEC)[0]).all()


CAMERA = pytest.mark.parametrize(("pixel_format", "shape"), [("nv12", (360, 320)), ("yuyv", (240, 320, 2))])


def samples(shape: tuple[int, ...], seed: int = 0) -> NDArray[np.uint8]:
    """Also of Y, U and V beyond their ranges."""
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


@both
@CAMERA
def test_colours_are_those_of_opencv(run: Preprocess, pixel_format: PixelFormat, shape: Any) -> None:
    image = samples(shape)  # of the input's width: nothing is resized
    tensor, letterbox = run(image, SPEC, pixel_format)
    assert (letterbox.image_height, letterbox.image_width) == (240, 320)
    assert difference(tensor[0, :240], to_rgb(image, pixel_format)) <= LEVEL
    assert (tensor[0, 240:] == SPEC.pad_color).all()


@both
@CAMERA
def test_known_colours(run: Preprocess, pixel_format: PixelFormat, shape: Any) -> None:
    """Of the standard's colour bars at full level: Y, U, V and what they stand for."""
    bars = {
        (235, 128, 128): (255, 255, 255),
        (16, 128, 128): (0, 0, 0),
        (81, 90, 240): (255, 0, 0),
        (145, 54, 34): (0, 255, 0),
        (41, 240, 110): (0, 0, 255),
        (126, 128, 128): (128, 128, 128),
    }
    for (y, u, v), colour in bars.items():
        image = np.empty(shape, np.uint8)
        luma, chroma = (
            (image[:240], image[240:]) if pixel_format == "nv12" else (image[..., 0], image[..., 1])
        )
        luma[:], chroma[:, ::2], chroma[:, 1::2] = y, u, v
        assert difference(run(image, SPEC, pixel_format)[0][0, :240], np.array(colour, np.uint8)) <= 2


@pytest.mark.parametrize(("height", "width"), [(480, 640), (1080, 1920), (2, 2), (64, 48), (722, 1286)])
@pytest.mark.parametrize("pixel_format", ["nv12", "yuyv", "bgr"])
def test_camera_formats_are_resized_as_rgb_is(pixel_format: PixelFormat, height: int, width: int) -> None:
    shapes = {"nv12": (height * 3 // 2, width), "yuyv": (height, width, 2), "bgr": (height, width, 3)}
    image = samples(shapes[pixel_format], seed=2)
    compiled = preprocess(image, SPEC, pixel_format)
    reference = preprocess_reference(image, SPEC, pixel_format)
    assert compiled[1] == reference[1]
    assert difference(compiled[0], reference[0]) <= LEVEL


@CAMERA
def test_strides_of_a_cameras_frame_do_not_matter(pixel_format: PixelFormat, shape: Any) -> None:
    rows, width, *channels = shape
    pitched = samples((rows, width + 64, *channels))[:, :width]  # rows are longer in memory
    wide = samples((rows, 3 * width, *channels))[:, ::3]
    for image in (pitched, wide, np.asfortranarray(samples(shape)), samples(shape)[:, ::-1]):
        packed = np.ascontiguousarray(image)
        assert (preprocess(image, SPEC, pixel_format)[0] == preprocess(packed, SPEC, pixel_format)[0]).all()


@pytest.mark.parametrize(
    ("pixel_format", "shape", "words"),
    [
        (
            "nv12",
            (240, 320, 3),
            ["(3 H / 2, W) uint8 NV12", "240x320x3 uint8", "of two dimensions"],
        ),
        ("nv12", (361, 320), ["361x320 uint8", "H and W are even"]),
        ("nv12", (360, 321), ["360x321 uint8", "H and W are even"]),
        ("nv12", (0, 320), ["0x320 uint8", "empty"]),
        ("nv12", (3, MAX_SIDE + 2), [str(MAX_SIDE)]),
        ("yuyv", (240, 640), ["(H, W, 2) uint8 YUYV", "240x640 uint8", "reshape(height, width, 2)"]),
        ("yuyv", (240, 321, 2), ["240x321x2 uint8", "W is even"]),
        ("bgr", (240, 320, 4), ["(H, W, 3) uint8 BGR", "240x320x4 uint8", "[:, :, :3]"]),
    ],
)
def test_what_is_no_frame_of_its_format_is_refused(
    pixel_format: PixelFormat, shape: tuple[int, ...], words: list[str]
) -> None:
    for function in (check_image, to_rgb, lambda image, given: preprocess(image, SPEC, given)):
        with pytest.raises(ImageError) as caught:
            function(np.zeros(shape, np.uint8), pixel_format)
        assert all(word in str(caught.value) for word in words)
    with pytest.raises(ImageError, match="astype"):
        check_image(np.zeros((6, 4), np.uint16), "nv12")
    with pytest.raises(InputError, match="unknown pixel_format 'yv12'; there are: rgb, bgr, nv12, yuyv"):
        check_image(np.zeros((6, 4), np.uint8), "yv12")  # type: ignore[arg-type]


def test_very_long_sides_do_not_add_up_their_roundings() -> None:
    image = np.full((MAX_SIDE, 2, 3), 255, np.uint8)
    image[:, 1] = np.arange(MAX_SIDE)[:, None] % 256
    spec = ImageSpec(32, 32)
    assert difference(preprocess(image, spec)[0], preprocess_reference(image, spec)[0]) <= LEVEL


def test_a_read_only_image_is_read() -> None:
    image = noise(50, 60)
    expected, _ = preprocess(image, SPEC)
    image.flags.writeable = False
    assert (preprocess(image, SPEC)[0] == expected).all()


def test_two_threads_do_not_disturb_each_other() -> None:
    images = [noise(480, 640, seed) for seed in range(4)]
    expected = [preprocess(image, SPEC)[0] for image in images]
    different = [0] * len(images)

    def work(index: int) -> None:
        for _ in range(20):
            different[index] += int((preprocess(images[index], SPEC)[0] != expected[index]).any())

    threads = [threading.Thread(target=work, args=(index,)) for index in range(len(images))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert different == [0] * len(images)


@pytest.mark.parametrize(
    ("image", "came", "advice"),
    [
        ("photo.png", "a str", "read it"),
        (None, "a NoneType", "read it"),
        (np.zeros((0, 0, 3), np.uint8), "0x0x3 uint8", "empty"),
        (np.zeros((5, 0, 3), np.uint8), "5x0x3 uint8", "empty"),
        (np.zeros((4, 6), np.uint8), "4x6 uint8", "COLOR_GRAY2RGB"),
        (np.zeros((4, 6, 1), np.uint8), "4x6x1 uint8", "COLOR_GRAY2RGB"),
        (np.zeros((4, 6, 4), np.uint8), "4x6x4 uint8", "[:, :, :3]"),
        (np.zeros((4, 6, 3), np.float64), "4x6x3 float64", "astype(np.uint8)"),
        (np.zeros((3, 4, 6), np.uint8), "3x4x6 uint8", "transpose(1, 2, 0)"),
        (np.zeros((1, 4, 6, 3), np.uint8), "1x4x6x3 uint8", "one image at a time"),
        (np.zeros((), np.uint8), "a single number uint8", "one image at a time"),
        (np.broadcast_to(np.uint8(0), (1, MAX_SIDE + 1, 3)), "1x16385x3 uint8", str(MAX_SIDE)),
    ],
)
def test_what_is_no_image_is_refused(image: Any, came: str, advice: str) -> None:
    for function in (check_image, lambda image: preprocess(image, SPEC)):
        with pytest.raises(ImageError) as caught:
            function(image)
        message = str(caught.value)
        assert "expected an image as an (H, W, 3) uint8 RGB array" in message
        assert came in message
        assert advice in message
        assert "\n" not in message


@pytest.mark.parametrize(
    ("image", "tensor"),
    [
        (np.zeros((4, 4, 3), np.float32), np.zeros((4, 4, 3), np.uint8)),
        (np.zeros((4, 4), np.uint8), np.zeros((4, 4, 3), np.uint8)),
        (np.zeros((4, 4, 4), np.uint8), np.zeros((4, 4, 3), np.uint8)),
        (np.zeros((4, 4, 3), np.uint8), np.zeros((4, 8, 3), np.uint8)[:, ::2]),
        (np.zeros((4, 4, 3), np.uint8), np.zeros((4, 4, 3), np.int32)),
        ([[[0, 0, 0]]], np.zeros((4, 4, 3), np.uint8)),
    ],
    ids=["dtype", "dimensions", "channels", "strided output", "output dtype", "list"],
)
def test_the_extension_checks_types_before_it_runs(image: Any, tensor: Any) -> None:
    with pytest.raises(TypeError, match="incompatible function arguments"):
        _native.letterbox(image, tensor, 4, 4, (0, 0, 0))


def test_the_extension_refuses_to_write_into_a_read_only_tensor() -> None:
    tensor = np.zeros((4, 4, 3), np.uint8)
    tensor.flags.writeable = False
    with pytest.raises(TypeError, match="incompatible function arguments"):
        _native.letterbox(np.zeros((4, 4, 3), np.uint8), tensor, 4, 4, (0, 0, 0))


def test_the_extension_refuses_a_result_that_does_not_fit() -> None:
    with pytest.raises(ValueError, match="5x4 px does not fit in an input of 4x4 px"):
        _native.letterbox(np.zeros((4, 4, 3), np.uint8), np.zeros((4, 4, 3), np.uint8), 5, 4, (0, 0, 0))
