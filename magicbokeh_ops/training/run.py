"""A run that can be stopped at any time: its state on disk, its log, its sample sheets."""

import json
import math
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor, nn
from torch.utils.data import DataLoader
from tqdm import tqdm

from ..files import write_photo
from ..synthesis.dataset import Batches, Sample
from ..synthesis.degradation import Degradation
from ..synthesis.sources import Folders, Procedural, Source
from .settings import Settings, Stage

HELD_OUT = 1000  # added to the seed for scenes to look at; their pictures are drawn anew


def find_source(settings: Settings, folder: Path, held_out: bool) -> Source:
    """The user's folders, or a pool of drawn pictures, which is kept in the run's folder."""
    data = settings.data
    if data.images is not None and data.cutouts is not None:
        return Folders(data.images, data.cutouts)
    name, seed, count = "pool", settings.seed, data.pool
    if held_out:
        name, seed, count = "held-out", settings.seed + HELD_OUT, -(-data.pool // 8)
    file = folder / f"{name}.pt"
    if not file.exists():
        with tqdm(total=count, desc="pictures to train with") as bar:
            pool = Procedural.build(
                seed, count, processes=max(1, data.workers), progress=lambda done, _: bar.update(done - bar.n)
            )
        save_whole(vars(pool), file)
    return Procedural(**torch.load(file, weights_only=True))


def make_batches(settings: Settings, source: Source, size: int, batch: int, seed: int) -> Batches:
    data = settings.data
    return Batches(source, size, batch, seed, data.k_limit, Degradation(data.scale, data.strength))


def load_batches(batches: Batches, steps: range, workers: int) -> Iterator[Sample]:
    """Batches number `steps`, made ahead by other processes."""
    # One process alone would wait for the network and the network for it.
    yield from DataLoader(batches, batch_size=None, sampler=steps, num_workers=workers, prefetch_factor=4 if workers else None)


def to_device(sample: Sample, device: torch.device) -> Sample:
    return Sample(**{key: value.to(device, non_blocking=True) for key, value in vars(sample).items()})


def rate_at(step: int, stage: Stage, rate: float) -> float:
    """Linear warm-up, then half a cosine down to nothing."""
    if step < stage.warmup:
        return rate * (step + 1) / stage.warmup
    return rate * 0.5 * (1 + math.cos(math.pi * (step - stage.warmup) / max(1, stage.steps - stage.warmup)))


def average_gradients(accelerator: Accelerator, parameters: Iterable[nn.Parameter]) -> None:
    """The mean over all devices, for those that this step has reached."""
    if accelerator.num_processes > 1:
        for parameter in parameters:
            if parameter.grad is not None:
                parameter.grad = accelerator.reduce(parameter.grad, "mean")


def save_whole(content: Any, path: Path) -> None:
    """torch.save, whole or not at all."""
    unfinished = path.with_name(path.name + ".part")
    torch.save(content, unfinished)
    unfinished.replace(path)


class Log:
    """Lines of JSON. After a stop it goes on behind the last line that belongs to the saved state."""

    def __init__(self, path: Path, kept: int):
        lines = path.read_text().splitlines(keepends=True)[:kept] if path.exists() else []
        path.write_text("".join(lines))
        self.path, self.lines = path, len(lines)

    def write(self, **entries) -> None:
        with self.path.open("a") as file:
            file.write(json.dumps(entries) + "\n")
        self.lines += 1


class Timer:
    """True every so many seconds."""

    def __init__(self, seconds: float):
        self.seconds, self.last = seconds, time.monotonic()

    def due(self) -> bool:
        if time.monotonic() - self.last < self.seconds:
            return False
        self.last = time.monotonic()
        return True


def psnr(picture: Tensor, truth: Tensor, where: Tensor | None = None) -> float:
    """In dB over a batch (B, 3, H, W) in [0, 1], or over the pixels where a (B, 1, H, W) mask is 1."""
    error = (picture.float().clamp(0, 1) - truth).square()
    mean = error.mean() if where is None else (error * where).sum() / (3 * where.sum()).clamp(min=1)
    return float(-10 * mean.log10())


def write_sheet(path: Path, sample: Sample, bokeh: Tensor, sharp: Tensor) -> None:
    """Rows of photo, defocus, our bokeh, the true one, our restoration, the true one."""
    planes = [sample.lq, sample.defocus.expand(-1, 3, -1, -1), bokeh, sample.bokeh, sharp, sample.sharp]
    rows = [torch.cat([plane[i].float().cpu().clamp(0, 1) for plane in planes], -1) for i in range(min(8, len(sample.lq)))]
    write_photo(path, torch.cat(rows, -2)[None])
