"""Several processes that train one model, started by `torchrun`; one alone behaves the same.

Each process takes its share of every batch, and gradients are averaged, so that the number of processes
changes the speed and not the recipe (batch norm sees its own process's images, as usual).
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch import distributed as dist


@dataclass(frozen=True)
class Processes:
    """rank: number of this process. count: of all."""

    rank: int = 0
    count: int = 1

    @property
    def main(self) -> bool:
        """Whether this is the process that writes and talks."""
        return self.rank == 0

    def wrapped(self, model: nn.Module, device: torch.device) -> nn.Module:
        """The model whose gradients are averaged over the processes."""
        if self.count == 1:
            return model
        devices = [device.index] if device.type == "cuda" else None
        return nn.parallel.DistributedDataParallel(model, device_ids=devices)

    def summed(self, *values: float, device: torch.device) -> list[float]:
        """Each value's sum over the processes."""
        if self.count == 1:
            return list(values)
        total = torch.tensor(values, dtype=torch.float64, device=device)
        dist.all_reduce(total)
        return [float(x) for x in total]

    def of_main(self, x: Tensor, device: torch.device) -> Tensor:
        """The main process's tensor, of the same shape and type, everywhere."""
        if self.count == 1:
            return x
        there = x.to(device)
        dist.broadcast(there, 0)
        return there.to(x.device)

    def gathered(self, x: Tensor, device: torch.device) -> list[Tensor]:
        """The tensors of all processes."""
        if self.count == 1:
            return [x]
        found = [torch.empty_like(x, device=device) for _ in range(self.count)]
        dist.all_gather(found, x.to(device))
        return [part.to(x.device) for part in found]

    def wait(self) -> None:
        """Until all processes are here."""
        if self.count > 1:
            dist.barrier()


def is_main() -> bool:
    """Whether this process writes and talks, by torchrun's environment alone."""
    return int(os.environ.get("RANK", "0")) == 0


@contextmanager
def processes(device: torch.device) -> Iterator[Processes]:
    """Join the processes that torchrun has started; one where it has not."""
    count = int(os.environ.get("WORLD_SIZE", "1"))
    if count == 1:
        yield Processes()
        return
    dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
    try:
        yield Processes(dist.get_rank(), count)
    finally:
        dist.destroy_process_group()


def local_device(wanted: str) -> torch.device:
    """The device of this process for "auto", "cpu" or "cuda". ValueError where there is no GPU for "cuda"."""
    if wanted == "cpu" or (wanted == "auto" and not torch.cuda.is_available()):
        return torch.device("cpu")
    if not torch.cuda.is_available():
        raise ValueError("train.device is cuda, but PyTorch finds no GPU")
    device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
    torch.cuda.set_device(device)
    return device
