"""Depth that copes with degraded photos: a student learns to say of a bad photo what its teacher says of the good one (paper Sec. 3.4)."""

from collections.abc import Iterator
from copy import deepcopy
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
import yaml
from accelerate import Accelerator
from safetensors.torch import save_file
from torch import Tensor
from tqdm import tqdm

from .. import depth
from ..synthesis.dataset import Sample
from . import run
from .settings import Data, Settings, Stage, fill

ABSOLUTE = 4.0  # weight of the absolute error of disparity, whose relative deviations are about four times as large


@dataclass(frozen=True)
class DepthSettings:
    """A distillation.

    steps, size, batch, rate, warmup: as in `Stage`; size is a multiple of the network's patch. teacher: Depth Anything V2, a file
    or folder. Without one a small teacher is trained first, on scenes whose disparity is known: teacher_steps, and `network`, the
    sizes as in `depth.DepthConfig`. features: weight of the features' part in the loss.
    """

    steps: int
    size: int
    batch: int
    rate: float
    warmup: int = 100
    teacher: Path | None = None
    teacher_steps: int = 0
    network: dict[str, Any] = field(default_factory=dict)
    features: float = 1.0
    data: Data = Data()
    precision: str = "no"
    seed: int = 0
    save_seconds: float = 60.0


def read_depth_settings(path: Path) -> DepthSettings:
    """Raises ValueError for an unknown or missing entry, naming it."""
    content = yaml.safe_load(path.read_text(encoding="utf-8"))
    return fill(DepthSettings, {**content, "data": fill(Data, content.pop("data", {}), path.name)}, path.name)


def relative(disparity: Tensor) -> Tensor:
    """Disparity (B, H, W) without its scale and shift: median 0, mean deviation 1 (as in MiDaS and Depth Anything)."""
    flat = disparity.flatten(1)
    centered = flat - flat.median(1, keepdim=True).values
    return (centered / centered.abs().mean(1, keepdim=True).clamp(min=1e-6)).view_as(disparity)


def look(model: Any, photos: Tensor) -> tuple[Tensor, list[Tensor]]:
    """Disparity (B, H, W) of photos (B, 3, H, W) in [0, 1] at their own size, and the features that the head makes it of."""
    x = depth.standardize(photos)
    features = model.backbone(x).feature_maps
    rows, cols = (side // model.config.patch_size for side in photos.shape[-2:])
    return model.head(model.neck(features, rows, cols), rows, cols).float(), [feature.float() for feature in features]


def teacher_loss(model: Any, sample: Sample) -> Tensor:
    """Distance from the scene's true disparity, whatever its scale and shift, and as it is."""
    disparity = look(model, sample.sharp)[0]
    found, truth = relative(disparity), relative(sample.disparity[:, 0])
    # The network cuts its output at 0: whatever sank below would never learn again if scale and shift were free altogether.
    loss = F.l1_loss(found, truth) + ABSOLUTE * F.l1_loss(disparity, sample.disparity[:, 0])
    for axis in (-1, -2):
        loss = loss + F.l1_loss(found.diff(dim=axis), truth.diff(dim=axis))
    return loss


def student_loss(student: Any, teacher: Any, sample: Sample, features: float) -> Tensor:
    """Distance of the student on the bad photo from the teacher on the good one: output, and the features that feed the head."""
    with torch.no_grad():
        wanted, wanted_features = look(teacher, sample.sharp)
    found, found_features = look(student, sample.lq)
    loss = F.l1_loss(found, wanted) / wanted.std().clamp(min=1e-6)
    for feature, target in zip(found_features, wanted_features):
        loss = loss + features * F.mse_loss(feature, target) / target.var() / len(wanted_features)
    return loss


def distill(settings: DepthSettings, folder: Path) -> Path:
    """Train a student (and a small teacher if none is given); a stopped run goes on. Returns the student's file.

    The folder gets student.safetensors in transformers' names with a .json beside it, teacher.safetensors if it was trained, and
    log.jsonl.
    """
    accelerator = Accelerator(mixed_precision=settings.precision)
    folder.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(settings.seed)
    teacher_file = settings.teacher or folder / "teacher.safetensors"
    if not teacher_file.exists():
        sizes: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in settings.network.items()}
        config = depth.DepthConfig(**sizes)
        model = depth.build_untrained(config).to(accelerator.device)
        # The output is cut at 0, and a loss without a shift would not mind if all of it lay below.
        torch.nn.init.constant_(model.head.conv3.bias, 1.0)
        learn(
            accelerator, settings, folder, "teacher", settings.teacher_steps, model, lambda sample: teacher_loss(model, sample)
        )
        if accelerator.is_main_process:
            write(model, config, teacher_file)
        accelerator.wait_for_everyone()
    tensors, config = depth.read_depth(teacher_file)
    teacher = depth.build(tensors, config, teacher_file.name).to(accelerator.device)
    student = deepcopy(teacher).train().requires_grad_(True)
    learn(
        accelerator,
        settings,
        folder,
        "student",
        settings.steps,
        student,
        lambda sample: student_loss(student, teacher, sample, settings.features),
    )
    if accelerator.is_main_process:
        write(student, config, folder / "student.safetensors")
    return folder / "student.safetensors"


def learn(
    accelerator: Accelerator, settings: DepthSettings, folder: Path, name: str, steps: int, model: Any, loss_of: Any
) -> None:
    """Minimise loss_of(sample) for so many steps."""
    optimizer = torch.optim.AdamW(model.parameters(), settings.rate)
    stage = Stage(kind=name, steps=steps, size=settings.size, batch=settings.batch, rate=settings.rate, warmup=settings.warmup)
    file, start, lines = folder / f"{name}.pt", 0, 0
    if file.exists():
        saved = torch.load(file, map_location=accelerator.device, weights_only=True)
        model.load_state_dict(saved["model"])
        optimizer.load_state_dict(saved["optimizer"])
        start, lines = saved["step"], saved["lines"]
    log = run.Log(folder / f"{name}.jsonl", lines) if accelerator.is_main_process else None
    timer = run.Timer(settings.save_seconds)
    parameters = list(model.parameters())
    bar = tqdm(total=steps, initial=start, desc=name, disable=log is None)
    for step, sample in enumerate(_samples(accelerator, settings, folder, name, range(start, steps)), start):
        for group in optimizer.param_groups:
            group["lr"] = run.rate_at(step, stage, settings.rate)
        with accelerator.autocast():
            loss = loss_of(run.to_device(sample, accelerator.device))
        loss.backward()
        run.average_gradients(accelerator, parameters)
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        optimizer.zero_grad()
        bar.update()
        if log is None:
            continue
        if step % 20 == 0:
            log.write(step=step, loss=loss.item())
        if timer.due() or step + 1 == steps:
            content = {"step": step + 1, "lines": log.lines, "model": model.state_dict(), "optimizer": optimizer.state_dict()}
            run.save_whole(content, file)
    bar.close()
    model.eval()


def _samples(accelerator: Accelerator, settings: DepthSettings, folder: Path, name: str, steps: range) -> Iterator[Sample]:
    shared = Settings(stages=(), data=settings.data, seed=settings.seed)
    with accelerator.main_process_first():
        source = run.find_source(shared, folder, held_out=False)
    batches = run.make_batches(shared, source, settings.size, settings.batch, settings.seed * 100 + len(name))
    world, rank = accelerator.num_processes, accelerator.process_index
    places = range(steps.start * world + rank, steps.stop * world, world)
    return run.load_batches(batches, places, settings.data.workers)


def write(model: Any, config: depth.DepthConfig, file: Path) -> None:
    """A file for `depth.read_depth`, with what shapes can't tell beside it."""
    file.with_suffix(".json").write_text(
        f'{{"num_attention_heads": {config.heads}, "out_indices": {list(config.out_indices)}}}\n'
    )
    save_file({key: value.detach().cpu().contiguous() for key, value in model.state_dict().items()}, file)
