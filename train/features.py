"""Feature maps of a frozen backbone and adapter, kept on disk: an image that is met again costs a read.

One safetensors file for each map, FOLDER/<what decides the features>/<ab>/<abcd...>-F0.safetensors, named by
hashes: of weights and code, and of the image's pixels. So nothing is ever out of date, and every run may
share the folder, at the same time, too. A file is checked before it is used: what is damaged, or not what its
name says, is told and computed again.
"""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from stat import S_ISREG
from typing import Final

import torch
from safetensors import SafetensorError
from safetensors.torch import load
from torch import Tensor, nn

from argus_edge.errors import InputError, first_line
from argus_edge.train.model import adapter, argus, backbone, deformable, layers
from argus_edge.train.model.argus import Argus, normalise
from argus_edge.train.model.build import BACKBONES, variant_named
from argus_edge.train.model.checkpoint import write_tensors
from argus_edge.train.recipe import Recipe

STRIDES: Final = (4, 8, 16, 32)  # [px] of F0..F3
LEAST_FREE: Final = 2 << 30  # bytes that stay free on the disk: the run's own states need room, too
HEADER: Final = 4096  # bytes of a file beyond its map, at most
CODE: Final = (adapter, argus, backbone, deformable, layers)  # what computes the maps
UNREADABLE: Final = (OSError, SafetensorError, ValueError, KeyError, TypeError, RuntimeError)


@dataclass(frozen=True)
class PyramidIdentity:
    """What feature maps depend on beside the image."""

    digest: str  # sha256 in hex
    width: int  # channels of the maps


def pyramid_identity(model: Argus, recipe: Recipe, device: torch.device) -> PyramidIdentity:
    """Of weights, structure, code, precision and the kind of device, as `recipe` trains on it."""
    parts = nn.ModuleList([model.backbone, model.adapter])
    told = hashlib.sha256()
    facts = (
        parts,
        BACKBONES[variant_named(recipe.variant)],
        *(recipe.precision, recipe.compile, device.type),
        *(torch.__version__, version("timm")),
    )
    told.update("\n".join(str(fact) for fact in facts).encode())
    for module in CODE:
        told.update(Path(str(module.__file__)).read_bytes())
    for name, tensor in parts.state_dict().items():
        told.update(f"{name} {_description(tensor)}".encode())
        told.update(_bytes(tensor))
    return PyramidIdentity(told.hexdigest(), model.backbone.width)


def check_features(recipe: Recipe) -> None:
    """Raise InputError where features that are kept would be of no use, or wrong."""
    if recipe.freeze != "backbone+adapter":
        raise InputError(
            f"--features keeps what a frozen backbone and adapter give, and this run has freeze "
            f"{recipe.freeze!r}: add --freeze backbone+adapter, or leave out --features"
        )
    if recipe.views == 0:
        raise InputError(
            "--features: with views 0 each image looks new every time, so that no features are met again; "
            "add --views 1, or more for more variety"
        )


class FeatureCache:
    """The maps of single images in a folder, and what became of them.

    Attributes:
        hits, misses: images whose maps were all there, and those that had to be computed.
        damaged: files that were not what they should be.
        stored: bytes written.
    """

    def __init__(self, folder: Path, identity: PyramidIdentity, least_free: int = LEAST_FREE) -> None:
        """Args:
            folder: made if missing; other weights may have theirs there, too.
            identity: of the model that computes the maps.
            least_free: bytes; with less on the disk nothing more is stored.

        Raises InputError where the folder cannot be made.
        """
        self.folder, self.identity, self.least_free = folder, identity, least_free
        self.place = folder / identity.digest[:16]
        self.hits = self.misses = self.damaged = self.stored = 0
        self._storing, self._notes = True, list[str]()
        try:
            self.place.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(
                f"--features {folder}: no folder to keep features in ({error.strerror}); name another one"
            ) from error

    def get(self, image: Tensor, level: int) -> Tensor | None:
        """F`level` (C, H/s, W/s) of an image (H, W, 3) uint8 RGB, on the CPU; None if it is not there."""
        key = self._key(image)
        path = self._path(key, level)
        try:
            return self._read(path, f"{key} F{level}", self._shape(image, level))
        except FileNotFoundError:
            return None
        except UNREADABLE as error:
            if not self.damaged:
                self._notes.append(
                    f"{path}: not usable ({first_line(error)}); computed again, as will be others like it"
                )
            self.damaged += 1
            return None

    def put(self, image: Tensor, level: int, values: Tensor) -> None:
        """Keep F`level` of an image. Where the disk refuses, that is told once and nothing more is kept."""
        if not self._storing:
            return
        key = self._key(image)
        path, values = self._path(key, level), values.detach().cpu().contiguous()
        tensors = {"features": values, "digest": _digest(f"{key} F{level}", values)}
        try:
            if shutil.disk_usage(self.place).free < self.least_free + values.nbytes:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            path.parent.mkdir(parents=True, exist_ok=True)
            write_tensors(path, tensors)
        except (OSError, SafetensorError) as error:
            self._storing = False
            self._notes.append(
                f"{self.folder}: features cannot be stored ({first_line(error)}); the run goes on without "
                f"storing more"
            )
        else:
            self.stored += values.nbytes

    @property
    def share(self) -> float:
        """Of the images so far, how many were there."""
        return self.hits / max(1, self.hits + self.misses)

    def notes(self) -> tuple[str, ...]:
        """What people should know, each told once."""
        told, self._notes = tuple(self._notes), []
        return told

    def others(self) -> str:
        """A sentence about features of other weights in the folder; "" if there are none."""
        folders = [path for path in self.folder.iterdir() if path != self.place and _is_hex(path.name)]
        files = [path for other in folders for path in other.rglob("*.safetensors")]
        if not files:
            return ""
        room = _shown(sum(_size(path) for path in files))
        names = ", ".join(sorted(path.name for path in folders))
        return (
            f"{self.folder} holds features of other weights, too, {room}: {names}; delete what no run needs"
        )

    def summary(self) -> str:
        """What became of the images, for people."""
        damaged = f"; {self.damaged} files were damaged" if self.damaged else ""
        return (
            f"features of {self.hits} images came from {self.place}, those of {self.misses} were computed; "
            f"{_shown(self.stored)} stored{damaged}"
        )

    def _key(self, image: Tensor) -> str:
        told = hashlib.sha256(f"{self.identity.digest} {_description(image)}".encode())
        told.update(_bytes(image))
        return told.hexdigest()

    def _path(self, key: str, level: int) -> Path:
        return self.place / key[:2] / f"{key}-F{level}.safetensors"

    def _shape(self, image: Tensor, level: int) -> tuple[int, int, int]:
        height, width, _ = image.shape
        return self.identity.width, height // STRIDES[level], width // STRIDES[level]

    def _read(self, path: Path, name: str, shape: tuple[int, int, int]) -> Tensor:
        """Raises ValueError, or what reading raises, unless the file holds what is called `name`."""
        found = path.stat()
        if not S_ISREG(found.st_mode) or found.st_size > 4 * shape[0] * shape[1] * shape[2] + HEADER:
            raise ValueError("not a file of this size")
        tensors = load(path.read_bytes())
        values = tensors["features"]
        if values.shape != shape or not torch.equal(tensors["digest"], _digest(name, values)):
            raise ValueError("its content is not what was stored")
        return values


@torch.no_grad()
def kept_features(
    compute: Callable[[Tensor], Sequence[Tensor]],
    cache: FeatureCache,
    images: Tensor,
    levels: Collection[int],
) -> list[Tensor]:
    """F0..F3 of images (B, H, W, 3) uint8 RGB, on their device; empty those that are not in `levels`.

    What is not in the cache goes through `compute`, (1, 3, H, W) normalised RGB -> F0..F3, one image at a
    time: so the maps of an image never depend on what else is in the batch, or was in the cache.
    """
    maps: dict[int, list[Tensor]] = {level: [] for level in levels}
    for image, pixels in zip(images, images.cpu(), strict=True):
        found = {level: cache.get(pixels, level) for level in levels}
        computed: Sequence[Tensor] = ()
        if any(value is None for value in found.values()):
            computed = compute(normalise(image[None]))
        for level, value in found.items():
            if value is None:
                value = computed[level][0]
                cache.put(pixels, level, value)
            maps[level].append(value.to(images.device))
        cache.misses += bool(computed)
        cache.hits += not computed
    nothing = torch.empty(0, device=images.device)
    return [torch.stack(maps[level]) if level in maps else nothing for level in range(len(STRIDES))]


def _digest(name: str, values: Tensor) -> Tensor:
    """(32,) uint8: sha256 of a map and what it is called."""
    told = hashlib.sha256(f"{name} {_description(values)}".encode())
    told.update(_bytes(values))
    return torch.frombuffer(bytearray(told.digest()), dtype=torch.uint8)


def _description(tensor: Tensor) -> str:
    return f"{tensor.dtype} {tuple(tensor.shape)}"


def _bytes(tensor: Tensor) -> memoryview:
    flat = tensor.detach().cpu().contiguous().flatten()
    return flat.view(torch.uint8).numpy().data


def _is_hex(name: str) -> bool:
    return len(name) == 16 and set(name) <= set("0123456789abcdef")


def _size(path: Path) -> int:
    """Bytes of a file; 0 where another process has just removed it."""
    try:
        return path.stat().st_size
    except OSError:
        return 0


def _shown(size: int) -> str:
    return f"{size / 1e9:.1f} GB" if size >= 1e9 else f"{size / 1e6:.1f} MB"
