"""Built engines on disk: one folder per user, and beside each engine a guard that says what it was built for.

An engine that was built for something else fails when it is loaded, or later, or gives other numbers; so
everything it depends on is in its name and its guard, and one that does not fit is built again.
"""

from __future__ import annotations

import hashlib
import json
import mmap
import os
import re
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Final

from argus_edge.errors import EngineError

__all__ = ["Identity", "PlanCache", "TensorRTIdentity", "cache_folder", "graph_hash", "write_atomically"]

GUARD_FORMAT: Final = 1
MAX_GUARD_BYTES: Final = 65536
NEVER_BUILT: Final = "no engine was built for this graph yet"


@dataclass(frozen=True, slots=True)
class Identity:
    """Everything that a built engine depends on: the graph, and what each library adds."""

    graph: str  # sha256 of the graph's file and of those beside it with its weights
    precision: str

    @property
    def name(self) -> str:
        """A file name of its own; those of one graph begin alike."""
        digest = hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()
        return f"{self.graph[:16]}-{digest[:16]}"


@dataclass(frozen=True, slots=True)
class TensorRTIdentity(Identity):
    """What a plan of TensorRT depends on."""

    tensorrt: str
    device: str
    compute_capability: str
    driver: str
    flags: str


class PlanCache:
    """Engines, and timing caches that make building the next one faster, in `folder`."""

    def __init__(self, folder: Path) -> None:
        self.folder: Final = folder

    def load(self, wanted: Identity) -> tuple[bytes | None, str]:
        """The engine built for exactly this; None, with the reason, where there is no sound one."""
        guard = self._guard(wanted.name)
        if guard is None:
            return None, self._why_not(wanted)
        differences = _differences(guard.get("identity"), wanted)
        if differences:
            return None, f"its guard says that {differences}"
        try:
            plan = self.file(wanted).read_bytes()
            self.file(wanted).touch()  # used just now
        except OSError as error:
            return None, f"the engine cannot be read: {error.strerror}"
        if guard.get("sha256") != hashlib.sha256(plan).hexdigest():
            return None, "the engine is not what its guard says it is"
        return plan, ""

    def file(self, identity: Identity) -> Path:
        """Where an engine is kept."""
        return self.folder / f"{identity.name}.plan"

    def settings(self, identity: Identity) -> dict[str, str]:
        """What was noted of an engine that `load` has found sound."""
        settings = (self._guard(identity.name) or {}).get("settings")
        return {str(key): str(value) for key, value in settings.items()} if isinstance(settings, dict) else {}

    def store(self, identity: Identity, plan: bytes, settings: Mapping[str, str] | None = None) -> None:
        """Keep an engine, and what it was built with. Raises EngineError where it cannot be written."""
        guard = {
            "format": GUARD_FORMAT,
            "identity": asdict(identity),
            "settings": dict(settings or {}),
            "sha256": hashlib.sha256(plan).hexdigest(),
        }
        # The guard comes last: without one, an engine is not taken.
        self._write(f"{identity.name}.plan", plan)
        self._write(f"{identity.name}.json", json.dumps(guard, indent=2).encode())

    def forget_oldest(self, most_bytes: int) -> None:
        """Remove the engines that were used longest ago, until the others take no more than `most_bytes`."""
        plans = [(file.stat(), file) for file in self.folder.glob("*.plan")]
        total = sum(facts.st_size for facts, _ in plans)
        for facts, file in sorted(plans, key=lambda plan: plan[0].st_mtime):
            if total <= most_bytes:
                break
            file.with_suffix(".json").unlink(missing_ok=True)  # the guard first: without one, it is not taken
            file.unlink(missing_ok=True)
            total -= facts.st_size

    def timing_file(self, identity: TensorRTIdentity) -> Path:
        """Where the timings of this version on this device are kept."""
        device = re.sub(r"[^A-Za-z0-9]+", "-", identity.device)
        return self.folder / f"timing-{device}-{identity.compute_capability}-{identity.tensorrt}.cache"

    def _write(self, name: str, content: bytes) -> None:
        try:
            self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            write_atomically(self.folder / name, content)
        except OSError as error:
            raise EngineError(
                f"{self.folder}: the built engine cannot be kept: {error.strerror}; set XDG_CACHE_HOME to a "
                f"folder that can be written"
            ) from error

    def _guard(self, name: str) -> dict[str, Any] | None:
        """What a guard says; None where it is absent, broken or of another format."""
        try:
            with (self.folder / f"{name}.json").open("rb") as file:
                guard = json.loads(file.read(MAX_GUARD_BYTES))
        except (OSError, ValueError, RecursionError):
            return None
        return guard if isinstance(guard, dict) and guard.get("format") == GUARD_FORMAT else None

    def _why_not(self, wanted: Identity) -> str:
        """The least that tells an engine of the same graph that is there from the one wanted."""
        names = (file.stem for file in self.folder.glob(f"{wanted.graph[:16]}-*.json"))
        others = [_differences(guard.get("identity"), wanted) for guard in map(self._guard, names) if guard]
        return min(filter(None, others), key=len, default=NEVER_BUILT)


def cache_folder(engine: str) -> Path:
    """Where this user's engines of a library are kept, in XDG_CACHE_HOME or ~/.cache; it need not exist."""
    configured = Path(os.environ.get("XDG_CACHE_HOME") or ".")
    base = configured if configured.is_absolute() else Path.home() / ".cache"
    return base / "argus_edge" / engine


def graph_hash(model_file: Path) -> str:
    """SHA-256 of a graph with its weights, in hexadecimal.

    Weights that are not in the ONNX file are in files beside it, which it names. Raises EngineError when one
    cannot be read.
    """
    digest = hashlib.sha256()
    try:
        with model_file.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            digest.update(content)
            for other in sorted(model_file.parent.iterdir()):
                if other != model_file and other.is_file() and content.find(other.name.encode()) >= 0:
                    digest.update(f"\0{other.name}\0".encode())
                    digest.update(other.read_bytes())
    except (OSError, ValueError) as error:  # ValueError: an empty file cannot be mapped
        raise EngineError(f"{model_file}: it cannot be read: {error}") from error
    return digest.hexdigest()


def write_atomically(file: Path, content: bytes) -> None:
    """Put a file in place whole. Raises OSError."""
    handle, name = tempfile.mkstemp(dir=file.parent, prefix=".partial-")
    try:
        with os.fdopen(handle, "wb") as partial:
            partial.write(content)
        Path(name).replace(file)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def _differences(identity: Any, wanted: Identity) -> str:
    """Which fields are not as wanted, in words; empty where all are."""
    known = identity if isinstance(identity, dict) else {}
    return ", ".join(
        f"{field.name.replace('_', ' ')} was {known.get(field.name)}, is {getattr(wanted, field.name)}"
        for field in fields(wanted)
        if known.get(field.name) != getattr(wanted, field.name)
    )
