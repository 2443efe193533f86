"""Opens damaged copies of a graph: python damaged_graphs.py ENGINE MODEL. Prints how many opened, as JSON."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from argus_edge.errors import EngineError
from argus_edge.runtime.engines import open_engine

COPIES = 60


def damaged(sound: bytes, rng: np.random.Generator) -> bytes:
    """Bytes changed, cut off or moved."""
    content = bytearray(sound)
    kind = rng.choice(3, p=(0.6, 0.2, 0.2))
    if kind == 0:
        for place in rng.integers(0, len(content), rng.integers(1, 7)):
            content[place] = rng.integers(256)
    elif kind == 1:
        del content[rng.integers(len(content)) :]
    else:
        there, here = rng.integers(0, len(content) - 64, 2)
        content[there : there + 64] = content[here : here + 64]
    return bytes(content)


def main(engine: str, model: str) -> None:
    """Anything but an EngineError of one line ends it."""
    sound, told = Path(model).read_bytes(), {"opened": 0, "refused": 0}
    with TemporaryDirectory() as folder:
        copy = Path(folder) / "model.onnx"
        for seed in range(COPIES):
            copy.write_bytes(damaged(sound, np.random.default_rng(seed)))
            try:
                open_engine(engine, copy, threads=1, precision="fp32").close()
                told["opened"] += 1
            except EngineError as error:
                if "\n" in str(error):
                    raise
                told["refused"] += 1
    sys.stdout.write(json.dumps(told))


if __name__ == "__main__":
    main(*sys.argv[1:])
