"""A run that can be stopped at any time: its state on disk, its log, its sample sheets."""

import json
import math
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import DistributedDataParallelKwargs, GradientAccumulationPlugin
from torch import Tensor, nn
from torch.utils.data import DataLoader
from tqdm import tqdm

from ..atomic import write_whole
from ..files import write_photo
from ..synthesis.dataset import Batches, Sample
from ..synthesis.degradation import Degradation
from ..synthesis.photographs import squares
from ..synthesis.sources import Folders, Procedural, Source
from .settings import Settings, Stage, locate

HELD_OUT = 1000  # added to the seed for scenes to look at; their pictures are drawn anew


def refuse_changes(file: Path, made_with: dict[str, Any], now: dict[str, Any]) -> None:
    """Raises ValueError if a file in a run's folder was made with other settings, naming the first that differs."""
    if not made_with:
        raise ValueError(f"{file} does not say with which settings it was made; give a new folder.")
    before, after = _entries(made_with), _entries(now)
    for loc in {**before, **after}:
        if before.get(loc) != after.get(loc):
            name, place = locate(loc)
            was, given = (json.dumps(entries[loc]) if loc in entries else "not there" for entries in (before, after))
            raise ValueError(
                f"{file} was made when {name}{place} was {was}, now it is {given}; set it back or give a new folder."
            )


def _entries(value: Any, loc: tuple[int | str, ...] = ()) -> dict[tuple[int | str, ...], Any]:
    """Single settings by where they are."""
    if isinstance(value, list) and value and isinstance(value[0], dict):
        value = dict(enumerate(value))
    if not isinstance(value, dict):
        return {loc: value}
    return {place: entry for key, part in value.items() for place, entry in _entries(part, (*loc, key)).items()}


def find_source(settings: Settings, folder: Path, held_out: bool) -> Source:
    """The user's folders, or a pool of drawn pictures and of photographs, which is kept in the run's folder.

    A pool of another seed or size, which is not what the settings say, is drawn anew. Scenes to look at have no photographs.
    """
    data = settings.data
    if data.images is not None and data.cutouts is not None:
        return Folders(data.images, data.cutouts)
    name, seed, count = "pool", settings.seed, data.pool
    if held_out:
        name, seed, count = "held-out", settings.seed + HELD_OUT, -(-data.pool // 8)
    file = folder / f"{name}.pt"
    drawn: dict[str, Any] = {"seed": seed, "pool": count}
    photos = None if held_out else data.photos
    if photos is not None:
        drawn |= {"photos": str(photos), "held_out": list(data.held_out)}
    if file.exists():
        content = torch.load(file, weights_only=True)
        if content.pop("drawn", None) == drawn:
            return replace(Procedural(**content), share=data.photo_share)
        tqdm.write(f"{file} is not of {count} pictures from seed {seed}, so it is drawn anew.", sys.stderr)
    with tqdm(total=count, desc="pictures to train with") as bar:
        pool = Procedural.build(seed, count, processes=max(1, data.workers), progress=lambda done, _: bar.update(done - bar.n))
    if photos is not None:
        with tqdm(desc="photographs") as bar:
            found = squares(photos, seed, data.held_out, progress=lambda done, _: bar.update(done - bar.n))
        pool = replace(pool, photographs=found, share=data.photo_share)
    save_whole({**vars(pool), "drawn": drawn}, file)
    return pool


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


def start() -> Accelerator:
    """The devices of a run. Precision and the like are those of its settings, whatever `accelerate config` says."""
    return Accelerator(
        mixed_precision="no",
        dynamo_backend="no",
        gradient_accumulation_plugin=GradientAccumulationPlugin(num_steps=1),
        # A step reaches different parts of the networks depending on its kind.
        kwargs_handlers=[DistributedDataParallelKwargs(find_unused_parameters=True)],
    )


def places(accelerator: Accelerator, steps: range) -> range:
    """Batches that this device takes: each takes its own of every round."""
    world, rank = accelerator.num_processes, accelerator.process_index
    return range(steps.start * world + rank, steps.stop * world, world)


def autocast(device: torch.device, precision: str) -> torch.autocast:
    """Computation in what the settings call precision. accelerate's own leaves fp16 out on a CPU."""
    dtype = {"bf16": torch.bfloat16, "fp16": torch.float16}.get(precision)
    return torch.autocast(device.type, dtype, enabled=dtype is not None)


def make_scaler(device: torch.device, precision: str) -> torch.amp.GradScaler:
    """Keeps gradients in the range of fp16; with other precisions it does nothing."""
    return torch.amp.GradScaler(device.type, enabled=precision == "fp16")


def descend(
    accelerator: Accelerator,
    scaler: torch.amp.GradScaler,
    loss: Tensor,
    optimizer: torch.optim.Optimizer,
    parameters: list[nn.Parameter],
    clip: float,
) -> None:
    """One step of the optimizer along gradients whose norm is at most `clip`."""
    accelerator.backward(scaler.scale(loss))
    scaler.unscale_(optimizer)
    accelerator.clip_grad_norm_(parameters, clip)
    scaler.step(optimizer)
    scaler.update()
    optimizer.zero_grad()


def learn(
    accelerator: Accelerator,
    title: str,
    steps: range,
    batches: Iterator[Sample],
    save_seconds: float,
    save: Callable[[int], None],
) -> Iterator[tuple[int, Sample]]:
    """Steps to take, each with its batch on this device.

    save(step): called now and then, in one process, with the step to go on with.
    """
    timer = Timer(save_seconds)
    with tqdm(total=steps.stop, initial=steps.start, desc=title, disable=not accelerator.is_main_process) as bar:
        for step, sample in zip(steps, batches, strict=True):
            yield step, to_device(sample, accelerator.device)
            bar.update()
            if accelerator.is_main_process and timer.due():
                save(step + 1)


def save_whole(content: Any, path: Path) -> None:
    """torch.save, whole or not at all."""
    write_whole(path, lambda unfinished: torch.save(content, unfinished))


class Log:
    """Lines of JSON. After a stop it goes on behind the last line that belongs to the saved state."""

    def __init__(self, path: Path, kept: int):
        lines = path.read_text(encoding="utf-8").splitlines(keepends=True)[:kept] if path.exists() else []
        path.write_text("".join(lines), encoding="utf-8")
        self.path, self.lines = path, len(lines)

    def write(self, **entries) -> None:
        with self.path.open("a", encoding="utf-8") as file:
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


def write_sheet(path: Path, sample: Sample, bokeh: Tensor, sharp: Tensor) -> None:
    """Rows of photo, defocus, our bokeh, the true one, our restoration, the true one."""
    planes = [sample.lq, sample.defocus.expand(-1, 3, -1, -1), bokeh, sample.bokeh, sharp, sample.sharp]
    rows = [torch.cat([plane[i].float().cpu().clamp(0, 1) for plane in planes], -1) for i in range(min(8, len(sample.lq)))]
    write_photo(path, torch.cat(rows, -2)[None])
