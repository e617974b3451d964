"""What a training run is: networks, data and stages, read from a YAML file."""

from dataclasses import MISSING, dataclass, field, fields
from pathlib import Path
from typing import Any

import yaml

STAGES = ("encoder", "base", "restoration", "alternate", "joint")


@dataclass(frozen=True)
class Data:
    """Scenes as in `synthesis`; without folders they are drawn.

    pool: drawn pictures. k_limit: largest K. scale (or its range), strength: of the degradation. workers: processes that make batches.
    """

    images: Path | None = None
    cutouts: Path | None = None
    pool: int = 320
    k_limit: float = 32.0
    scale: float | tuple[float, float] = 4.0
    strength: str = "full"
    workers: int = 1


@dataclass(frozen=True)
class Stage:
    """A part of the run with its own parameters to learn.

    kind: "encoder", the patch codec's by itself, and "base", everything, for networks that start from nothing;
    "restoration", the SR LoRA (paper: SR pre-training);
    "alternate", ControlNet and bokeh LoRA in turn with the U-Net's SR LoRA; "joint", these at once (the ablation).
    size: side of the pictures in pixels. batch: pictures per step and device. rate: of AdamW, after `warmup` steps, then falling
    to nothing by a cosine. restoration_rate: that of the SR LoRA when stages alternate. turns: steps of either kind in turn.
    by_picture: as in `losses.PictureLoss`.
    """

    kind: str
    steps: int
    size: int
    batch: int
    rate: float
    restoration_rate: float = 5e-6
    warmup: int = 100
    turns: tuple[int, int] = (1, 1)
    by_picture: bool = False


@dataclass(frozen=True)
class Settings:
    """A whole run.

    base: Stable Diffusion 2.1-base, a folder or file; None for the nano networks. network: sizes of these, as in `network.Config`.
    sr_rank, bokeh_rank: of the LoRAs. masks: attention keeps focus and rest apart in bokeh steps; without them is an ablation.
    lpips: weight of LPIPS in the loss, for which the package lpips is needed.
    clip: largest norm of the gradients. precision: "no" or "bf16", of the computation. ema: decay of the averaged weights. save_seconds: between saved states.
    sheet_steps: between sample sheets. saved: "fp32" or "fp16", of the merged file.
    """

    stages: tuple[Stage, ...]
    data: Data = Data()
    base: Path | None = None
    network: dict[str, Any] = field(default_factory=dict)
    sr_rank: int = 4
    bokeh_rank: int = 64
    masks: bool = True
    lpips: float = 0.0
    clip: float = 1.0
    precision: str = "no"
    ema: float = 0.999
    seed: int = 0
    save_seconds: float = 60.0
    sheet_steps: int = 500
    saved: str = "fp32"


def read_settings(path: Path) -> Settings:
    """Raises ValueError for an unknown or missing entry, naming it."""
    content = yaml.safe_load(path.read_text(encoding="utf-8"))
    if not isinstance(content, dict) or not content.get("stages"):
        raise ValueError(f"{path.name} has no stages; see docs/training.md.")
    stages = tuple(fill(Stage, entry, path.name) for entry in content.pop("stages"))
    unknown = [stage.kind for stage in stages if stage.kind not in STAGES]
    if unknown:
        raise ValueError(f"{path.name} has a stage {unknown[0]!r}; choose among {', '.join(STAGES)}.")
    data = fill(Data, content.pop("data", {}), path.name)
    return fill(Settings, {**content, "stages": stages, "data": data}, path.name)


def fill(kind, entries: dict[str, Any], name: str):
    """A dataclass `kind` of entries of the file `name`. Raises ValueError for an unknown or missing one."""
    known = {entry.name: entry for entry in fields(kind)}
    for key in entries:
        if key not in known:
            raise ValueError(f"{name} has an unknown entry {key!r}; known are {', '.join(known)}.")
    for key, entry in known.items():
        if key not in entries and entry.default is MISSING and entry.default_factory is MISSING:
            raise ValueError(f"{name}: {key} is missing in {kind.__name__.lower()}.")
    values: dict[str, Any] = {key: tuple(value) if isinstance(value, list) else value for key, value in entries.items()}
    for key in ("images", "cutouts", "base", "teacher"):
        if values.get(key) is not None:
            values[key] = Path(values[key])
    return kind(**values)
