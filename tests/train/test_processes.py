"""Two processes that meet over gloo: each ends with the gradient of the whole batch."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import torch
from torch import nn

from argus_edge.train.processes import Place, average_gradients, join_processes


def _network() -> nn.Module:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 3))
    network[0].requires_grad_(False)  # frozen parts have none
    return network


def _gradients(network: nn.Module, batch: torch.Tensor) -> dict[str, torch.Tensor]:
    network(batch).square().mean().backward()
    return {name: p.grad for name, p in network.named_parameters() if p.grad is not None}


def _batch() -> torch.Tensor:
    return torch.randn(6, 4, generator=torch.Generator().manual_seed(1))


def _work(folder: Path) -> None:
    """What one of the processes does: its share of the batch, then the average."""
    place = join_processes(torch.device("cpu"))
    network = _network()
    _gradients(network, _batch()[place.rank :: place.count])
    average_gradients(network.parameters(), place)
    found = {name: p.grad for name, p in network.named_parameters() if p.grad is not None}
    torch.save({"count": place.count, "gradients": found}, folder / f"{place.rank}.pt")
    torch.distributed.destroy_process_group()


def test_two_processes_have_the_gradient_of_the_whole_batch(tmp_path: Path) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    meeting = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    workers = [
        subprocess.Popen(
            [sys.executable, __file__, str(tmp_path)], env=os.environ | meeting | {"RANK": str(rank)}
        )
        for rank in range(2)
    ]
    assert [worker.wait(timeout=120) for worker in workers] == [0, 0]
    expected = _gradients(_network(), _batch())
    for rank in range(2):
        told = torch.load(tmp_path / f"{rank}.pt", weights_only=True)
        assert told["count"] == 2
        assert told["gradients"].keys() == expected.keys()
        for name, value in expected.items():
            torch.testing.assert_close(told["gradients"][name], value, rtol=1e-5, atol=1e-7)


def test_alone_nothing_changes() -> None:
    network = _network()
    before = {name: g.clone() for name, g in _gradients(network, _batch()).items()}
    average_gradients(network.parameters(), Place())
    assert all(torch.equal(p.grad, before[n]) for n, p in network.named_parameters() if p.grad is not None)


if __name__ == "__main__":
    _work(Path(sys.argv[1]))
