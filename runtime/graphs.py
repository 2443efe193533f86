"""The graphs of one package, open on one engine, wired as the package says."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Protocol, runtime_checkable

import numpy as np

from argus_edge.errors import EngineError, PackageError
from argus_edge.package import ModelPackage
from argus_edge.runtime.engines import Array, Engine, open_engine
from argus_edge.spec import BACKBONE, IMAGE_TENSOR, PERSONS_TENSOR, Precision, TensorSpec

__all__ = ["Graphs"]


@runtime_checkable
class Exporting(Protocol):
    """An engine that can write what it has compiled."""

    def exported(self) -> tuple[bytes, dict[str, str]]: ...


class Graphs:
    """The backbones and decoders that some tasks of a package need.

    Opening loads them and runs one blank frame through them: a graph that does not give what the package
    declares is found here, and the first call is as fast as the others. Raises EngineError, PackageError.
    """

    def __init__(
        self, package: ModelPackage, tasks: Sequence[str], engine: str, precision: Precision, threads: int
    ) -> None:
        self._package, self._precision = package, precision
        entries = [package.spec.tasks[task] for task in tasks]
        self._backbone_of = {entry.component: entry.backbone for entry in entries}
        self._engines: dict[str, Engine] = {}
        try:
            # Backbones before decoders, which is the order to run them in as well.
            for component in (BACKBONE, *self._backbone_of.values(), *self._backbone_of):
                if component not in self._engines:
                    file = package.model_file(component, precision)
                    self._engines[component] = open_engine(engine, file, threads=threads, precision=precision)
            self._run_blank_frame()
        except BaseException:
            self.close()
            raise

    def features(self, image: Array, backbone: str = BACKBONE) -> dict[str, Array]:
        """A backbone's answer to its network input (1, H, W, 3) uint8 RGB. Valid until it is asked again."""
        return self._engines[backbone].run({IMAGE_TENSOR: image})

    def decode(
        self, component: str, features: Mapping[str, Array], persons: Array | None = None
    ) -> dict[str, Array]:
        """A decoder's answer to its backbone's features, and to `persons` (P, 4) float32 where it takes them.

        Valid until it is asked again.
        """
        known = features if persons is None else {**features, PERSONS_TENSOR: persons}
        inputs = self._package.spec.components[component].inputs
        return self._engines[component].run({tensor.name: known[tensor.name] for tensor in inputs})

    def warm_up(self, component: str) -> None:
        """Run the package's own backbone on a blank image, so that caches and clocks stay warm."""
        self.features(self._blank(self._package.spec.input.tensor), component)

    def exported(self, component: str) -> tuple[bytes, dict[str, str]]:
        """A component as OpenVINO has compiled it, and the settings to load that with.

        Raises EngineError where the engine is another.
        """
        engine = self._engines[component]
        if not isinstance(engine, Exporting):
            raise EngineError(f"component {component!r}: its engine keeps no compiled graphs of this kind")
        return engine.exported()

    def run_all(self, image: Array, extra: Mapping[str, Array]) -> Iterator[tuple[str, Mapping[str, Array]]]:
        """Each open component and what it gives, backbones first.

        `image` is the network's input, `extra` what else each component reads (`PackageSpec.extra_inputs`).
        """
        features = {}
        for component in self._engines:
            if self._package.spec.components[component].is_backbone:
                features[component] = self.features(extra.get(component, image), component)
                yield component, features[component]
            else:
                source = features[self._backbone_of[component]]
                yield component, self.decode(component, source, extra.get(component))

    def close(self) -> None:
        """Free the engines. Harmless when repeated."""
        for engine in self._engines.values():
            engine.close()
        self._engines.clear()

    def _run_blank_frame(self) -> None:
        """Run the padding colour through every graph, and compare what comes with what the package says."""
        spec = self._package.spec
        extra = {name: self._blank(tensor) for name, tensor in spec.extra_inputs.items()}
        for component, outputs in self.run_all(self._blank(spec.input.tensor), extra):
            self._check_given(component, outputs)

    def _blank(self, tensor: TensorSpec) -> Array:
        value = (0, 0, 1, 1) if tensor.name == PERSONS_TENSOR else self._package.spec.input.pad_color
        return np.ascontiguousarray(np.broadcast_to(np.array(value, tensor.dtype), tensor.shape))

    def _check_given(self, component: str, outputs: Mapping[str, Array]) -> None:
        for tensor in self._package.spec.components[component].outputs:
            given = outputs.get(tensor.name)
            if given is None or given.shape != tensor.shape or given.dtype != tensor.dtype:
                file = self._package.model_file(component, self._precision)
                raise PackageError(
                    f"{file}: gives {_describe(tensor.name, given)}, but the package declares it as "
                    f"{tensor.dtype} {tensor.shape}; export it again"
                )


def _describe(name: str, given: Array | None) -> str:
    return f"no {name!r}" if given is None else f"{name!r} as {given.dtype} {given.shape}"
