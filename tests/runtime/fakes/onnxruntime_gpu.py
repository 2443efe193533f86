"""What onnxruntime-gpu has beside onnxruntime, put into the latter: its CUDA provider, on memory of the host.

The provider takes the options that it has (those of 1.31 were tried), has to be given a stream that exists,
and keeps to what holds for CUDA graphs: one per `gpu_graph_id`, at addresses that do not change. Where the
file has a GridSample, it plays a node without a kernel on the device.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import onnxruntime

runtime = importlib.import_module("cuda.bindings.runtime")

PROVIDER = "CUDAExecutionProvider"
real_session = onnxruntime.InferenceSession
OPTIONS = {"device_id", "user_compute_stream", "use_tf32", "arena_extend_strategy", "enable_cuda_graph"}


opened: list[Session] = []


def open_session(
    model: str | bytes, options: Any = None, *, providers: list[Any], enable_fallback: int = 1
) -> onnxruntime.InferenceSession:
    """In the place of InferenceSession."""
    if providers[0][0] == PROVIDER:
        assert isinstance(model, str)
        return Session(model, options, providers[0][1], enable_fallback)
    return real_session(model, options, providers=providers, enable_fallback=enable_fallback)


class Binding(onnxruntime.IOBinding):  # type: ignore[misc]
    def __init__(self, session: Session) -> None:
        super().__init__(session)
        self.addresses: dict[str, int] = {}

    def bind_input(self, name: str, device_type: str, *rest: Any) -> None:
        super().bind_input(name, self._on_host(name, device_type, *rest), *rest)

    def bind_output(self, name: str, device_type: str, *rest: Any) -> None:
        super().bind_output(name, self._on_host(name, device_type, *rest), *rest)

    def _on_host(
        self, name: str, device_type: str, device: int, dtype: type, shape: tuple[int, ...], pointer: int
    ) -> str:
        assert device_type == "cuda"
        assert any(
            side == "device" and begin <= pointer < begin + len(memory)
            for begin, (side, memory) in runtime.live.items()
        )
        self.addresses[name] = pointer
        return "cpu"


class Session(onnxruntime.InferenceSession):  # type: ignore[misc]
    def __init__(self, path: str, options: Any, given: Mapping[str, str], enable_fallback: int) -> None:
        self.given = given
        assert set(self.given) <= OPTIONS, "Unknown provider option"
        assert int(self.given["user_compute_stream"]) in runtime.streams
        self.captured: dict[str, dict[str, int]] = {}
        if self.given.get("enable_cuda_graph") == "1" and b"GridSample" in Path(path).read_bytes():
            raise RuntimeError("This session cannot use the graph capture feature as requested")
        super().__init__(path, options, providers=["CPUExecutionProvider"], enable_fallback=enable_fallback)
        opened.append(self)

    def get_providers(self) -> list[str]:
        return [PROVIDER, *super().get_providers()]

    def io_binding(self) -> Binding:
        return Binding(self)

    def run_with_iobinding(self, binding: Binding, run_options: Any) -> None:
        assert run_options.get_run_config_entry("disable_synchronize_execution_providers") == "1"
        if self.given.get("enable_cuda_graph") == "1":
            graph = run_options.get_run_config_entry("gpu_graph_id")
            known = self.captured.setdefault(graph, dict(binding.addresses))
            assert known == binding.addresses, "a CUDA graph was replayed on other addresses"
        super().run_with_iobinding(binding, run_options)
