"""Depth that copes with degraded photos: a student learns to say of a bad photo what its teacher says of the good one."""

import json
from collections.abc import Callable, Iterator
from copy import deepcopy
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from accelerate import Accelerator
from pydantic import model_validator
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from .. import depth
from ..atomic import write_whole
from ..synthesis.dataset import Sample
from . import run
from .settings import Above0, Count, Count1, Data, From0, Precision, Section, Seed, Settings, Stage, read

SCENES = {"teacher": 7, "student": 8}  # added to 100 times the seed: each has its own
# model(photos): what `WithFeatures` gives.
Model = Callable[[Tensor], tuple[Tensor, list[Tensor]]]
ABSOLUTE = 4.0  # weight of the absolute error of disparity, whose relative deviations are about four times as large


class DepthSettings(Section):
    """A distillation.

    steps, size, batch, rate, warmup: as in `Stage`; size is a multiple of the network's patch. teacher: Depth Anything V2, a file
    or folder. Without one a small teacher is trained first, on scenes whose disparity is known: teacher_steps, and `network`, its
    sizes. features: weight of the features' part in the loss.
    """

    steps: Count
    size: Count1
    batch: Count1
    rate: Above0
    warmup: Count = 100
    teacher: Path | None = None
    teacher_steps: Count = 0
    network: depth.DepthConfig | None = None
    features: From0 = 1.0
    data: Data = Data()
    precision: Precision = "no"
    seed: Seed = 0
    save_seconds: From0 = 60.0

    @model_validator(mode="after")
    def _has_a_teacher(self) -> "DepthSettings":
        if self.teacher is None and (self.network is None or not self.teacher_steps):
            raise ValueError("there is no teacher, so network and teacher_steps are needed to train one")
        if self.network is not None:
            depth.check_config(self.network, "network")
        return self

    def identity(self, name: str) -> dict[str, Any]:
        """All settings, as JSON has them, that decide what the "teacher" or the "student" learns."""
        exclude: dict[str, Any] = {"save_seconds": True, "data": {"workers"}}
        if name == "teacher":
            exclude |= {"teacher": True, "steps": True, "features": True}
        return self.model_dump(mode="json", exclude=exclude)


def read_depth_settings(path: Path) -> DepthSettings:
    """Raises ValueError as `settings.read_settings` does."""
    return read(DepthSettings, path, "steps")


def relative(disparity: Tensor) -> Tensor:
    """Disparity (B, H, W) without its scale and shift: median 0, mean deviation 1 (as in MiDaS and Depth Anything)."""
    flat = disparity.flatten(1)
    centered = flat - flat.median(1, keepdim=True).values
    return (centered / centered.abs().mean(1, keepdim=True).clamp(min=1e-6)).view_as(disparity)


class WithFeatures(torch.nn.Module):
    """Depth Anything that gives its features too, as accelerate can share it among devices."""

    def __init__(self, model: Any):
        super().__init__()
        self.model = model

    def forward(self, photos: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Disparity (B, H, W) of photos (B, 3, H, W) in [0, 1] at their own size, and the features that the head makes it of."""
        model = self.model
        x = depth.standardize(photos)
        features = model.backbone(x).feature_maps
        rows, cols = (side // model.config.patch_size for side in photos.shape[-2:])
        return model.head(model.neck(features, rows, cols), rows, cols).float(), [feature.float() for feature in features]


def teacher_loss(model: Model, sample: Sample) -> Tensor:
    """Distance from the scene's true disparity, whatever its scale and shift, and as it is."""
    disparity = model(sample.sharp)[0]
    found, truth = relative(disparity), relative(sample.disparity[:, 0])
    # The network cuts its output at 0: whatever sank below would never learn again if scale and shift were free altogether.
    loss = F.l1_loss(found, truth) + ABSOLUTE * F.l1_loss(disparity, sample.disparity[:, 0])
    for axis in (-1, -2):
        loss = loss + F.l1_loss(found.diff(dim=axis), truth.diff(dim=axis))
    return loss


def student_loss(student: Model, teacher: Model, sample: Sample, features: float) -> Tensor:
    """Distance of the student on the bad photo from the teacher on the good one: output, and the features that feed the head."""
    with torch.no_grad():
        wanted, wanted_features = teacher(sample.sharp)
    found, found_features = student(sample.lq)
    loss = F.l1_loss(found, wanted) / wanted.std().clamp(min=1e-6)
    for feature, target in zip(found_features, wanted_features):
        loss = loss + features * F.mse_loss(feature, target) / target.var() / len(wanted_features)
    return loss


def distill(settings: DepthSettings, folder: Path) -> Path:
    """Train a student (and a small teacher if none is given); a stopped run goes on. Returns the student's file.

    The folder gets student.safetensors in transformers' names with a .json beside it, teacher.safetensors if it was trained,
    and of each its state (.pt) and log (.jsonl). Raises ValueError if what is there is of other settings.
    """
    accelerator = run.start()
    folder.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(settings.seed)
    teacher_file = settings.teacher or _train_teacher(accelerator, settings, folder)
    tensors, config = depth.read_depth(teacher_file)
    teacher = depth.build(tensors, config, teacher_file.name).to(accelerator.device)
    student, seen_by_teacher = deepcopy(teacher).train().requires_grad_(True), WithFeatures(teacher)
    learn(
        accelerator,
        settings,
        folder,
        "student",
        settings.steps,
        student,
        lambda model, sample: student_loss(model, seen_by_teacher, sample, settings.features),
    )
    if accelerator.is_main_process:
        write(student, config, folder / "student.safetensors", settings.identity("student"))
    return folder / "student.safetensors"


def _train_teacher(accelerator: Accelerator, settings: DepthSettings, folder: Path) -> Path:
    """The small teacher's file, which is there already if it was finished before."""
    assert settings.network is not None  # as DepthSettings sees to
    file, made_with = folder / "teacher.safetensors", settings.identity("teacher")
    if file.exists():
        with safe_open(file, "pt") as opened:
            run.refuse_changes(file, json.loads((opened.metadata() or {}).get("settings", "{}")), made_with)
        return file
    model = depth.build_untrained(settings.network).to(accelerator.device)
    # The output is cut at 0, and a loss without a shift would not mind if all of it lay below.
    torch.nn.init.constant_(model.head.conv3.bias, 1.0)
    learn(
        accelerator,
        settings,
        folder,
        "teacher",
        settings.teacher_steps,
        model,
        teacher_loss,
    )
    if accelerator.is_main_process:
        write(model, settings.network, file, made_with)
    accelerator.wait_for_everyone()
    return file


def learn(
    accelerator: Accelerator,
    settings: DepthSettings,
    folder: Path,
    name: str,
    steps: int,
    model: Any,
    loss_of: Callable[[Any, Sample], Tensor],
) -> None:
    """Minimise loss_of(model, sample) for so many steps, from where the folder's state says that it was stopped."""
    if settings.size % model.config.patch_size:
        raise ValueError(f"size is {settings.size}; the depth model needs a multiple of {model.config.patch_size}.")
    optimizer = torch.optim.AdamW(model.parameters(), settings.rate)
    stage = Stage(
        kind="base", steps=steps, size=settings.size, batch=settings.batch, rate=settings.rate, warmup=settings.warmup
    )
    scaler = run.make_scaler(accelerator.device, settings.precision)
    file, start, lines = folder / f"{name}.pt", 0, 0
    if file.exists():
        saved = torch.load(file, map_location=accelerator.device, weights_only=True)
        run.refuse_changes(file, saved.get("settings", {}), settings.identity(name))
        model.load_state_dict(saved["model"])
        optimizer.load_state_dict(saved["optimizer"])
        scaler.load_state_dict(saved["scaler"])
        start, lines = saved["step"], saved["lines"]
    log = run.Log(folder / f"{name}.jsonl", lines) if accelerator.is_main_process else None
    parameters = list(model.parameters())
    shared = accelerator.prepare(WithFeatures(model))

    def save(step: int) -> None:
        content = {
            "step": step,
            "lines": 0 if log is None else log.lines,
            "model": model.state_dict(),
            "optimizer": optimizer.state_dict(),
            "scaler": scaler.state_dict(),
            "settings": settings.identity(name),
        }
        run.save_whole(content, file)

    left = range(start, steps)
    samples = _samples(accelerator, settings, folder, name, left)
    for step, sample in run.learn(accelerator, name, left, samples, settings.save_seconds, save):
        for group in optimizer.param_groups:
            group["lr"] = run.rate_at(step, stage, settings.rate)
        with run.autocast(accelerator.device, settings.precision):
            loss = loss_of(shared, sample)
        run.descend(accelerator, scaler, loss, optimizer, parameters, 1.0)
        if step % 20 == 0:
            of_all_devices = accelerator.reduce(loss.detach(), "mean").item()
            if log is not None:
                log.write(step=step, loss=of_all_devices)
    if accelerator.is_main_process and left:
        save(steps)
    del shared  # or the teacher would stay on the device
    accelerator.free_memory()
    model.eval()


def _samples(accelerator: Accelerator, settings: DepthSettings, folder: Path, name: str, steps: range) -> Iterator[Sample]:
    shared = Settings(stages=(), data=settings.data, seed=settings.seed)
    with accelerator.main_process_first():
        source = run.find_source(shared, folder, held_out=False)
    batches = run.make_batches(shared, source, settings.size, settings.batch, settings.seed * 100 + SCENES[name])
    return run.load_batches(batches, run.places(accelerator, steps), settings.data.workers)


def write(model: Any, config: depth.DepthConfig, file: Path, made_with: dict[str, Any]) -> None:
    """A file for `depth.read_depth`, with what shapes can't tell beside it, and in its metadata the settings."""
    beside = {"num_attention_heads": config.heads, "out_indices": list(config.out_indices)}
    write_whole(file.with_suffix(".json"), lambda path: path.write_text(json.dumps(beside) + "\n", encoding="utf-8"))
    tensors = {key: value.detach().cpu().contiguous() for key, value in model.state_dict().items()}
    write_whole(file, lambda path: save_file(tensors, path, {"settings": json.dumps(made_with)}))
