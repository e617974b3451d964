"""What a training run is: networks, data and stages, read from a YAML file and checked by pydantic."""

import re
import reprlib
from collections.abc import Sequence
from inspect import signature
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, get_args

import yaml
from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    Tag,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic_core import ErrorDetails, PydanticCustomError

from ..model.network import Config
from ..model.patch_codec import PATCH
from ..synthesis.degradation import Degradation

STAGES = ("encoder", "base", "restoration", "alternate", "joint")


def _no_truth(value: Any) -> Any:
    """To YAML yes and no are true and false, to Python these are 1 and 0."""
    if isinstance(value, bool):
        raise PydanticCustomError("number", "Input should be a number")
    return value


Number = Annotated[float, BeforeValidator(_no_truth)]
Above0 = Annotated[Number, Field(gt=0)]
From0 = Annotated[Number, Field(ge=0)]
Count = Annotated[int, BeforeValidator(_no_truth), Field(ge=0)]
Count1 = Annotated[Count, Field(ge=1)]
Seed = Annotated[Count, Field(lt=2**53)]  # what follows from it must be a seed of torch's too
Scale = Annotated[
    Annotated[Number, Tag("number")] | Annotated[tuple[Number, Number], Tag("range")],
    Discriminator(lambda value: "range" if isinstance(value, list | tuple) else "number"),
]
# YAML takes a bare no for false.
Precision = Annotated[Literal["no", "bf16", "fp16"], BeforeValidator(lambda value: "no" if value is False else value)]


class Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Data(Section):
    """Scenes as in `synthesis`; without folders they are drawn.

    photos: a folder of large photographs, which take that share (photo_share) among what is drawn, without those `held_out`; they are cut
    out by drawn silhouettes. pool: drawn pictures. k_limit: largest K. scale (or its range), strength: of the degradation. workers: processes that make batches.
    """

    images: Path | None = None
    cutouts: Path | None = None
    photos: Path | None = None
    photo_share: Annotated[Number, Field(ge=0, le=1)] = 0.5
    held_out: tuple[str, ...] = ()
    pool: Count1 = 320
    k_limit: Annotated[Above0, Field(le=1000)] = 32.0
    scale: Scale = 4.0
    strength: str | tuple[str, ...] = "full"
    workers: Count = 1

    @model_validator(mode="after")
    def _is_possible(self) -> "Data":
        if (self.images is None) != (self.cutouts is None):
            raise ValueError("images and cutouts go together in data")
        if self.photos is not None and self.images is not None:
            raise ValueError("photos go among what is drawn, so they don't go with images and cutouts in data")
        Degradation(self.scale, self.strength)
        return self


class Stage(Section):
    """A part of the run with its own parameters to learn.

    kind: "encoder", the patch codec's by itself, and "base", everything, for networks that start from nothing;
    "restoration", the SR LoRA (paper: SR pre-training);
    "alternate", ControlNet and bokeh LoRA in turn with the U-Net's SR LoRA; "joint", these at once (the ablation).
    size: side of the pictures in pixels. batch: pictures per step and device. rate: of AdamW, after `warmup` steps, then falling
    to nothing by a cosine. restoration_rate: that of the SR LoRA when stages alternate. turns: steps of either kind in turn.
    by_picture: as in `losses.PictureLoss`.
    """

    kind: str
    steps: Count
    size: Count1
    batch: Count1
    rate: Above0
    restoration_rate: From0 = 5e-6
    warmup: Count = 100
    turns: tuple[Count, Count] = (1, 1)
    by_picture: bool = False

    @field_validator("kind")
    @classmethod
    def _is_known(cls, kind: str) -> str:
        if kind not in STAGES:
            raise ValueError(f"it has a stage {kind!r} (choose among {', '.join(STAGES)})")
        return kind

    @field_validator("turns")
    @classmethod
    def _somebody_learns(cls, turns: tuple[int, int]) -> tuple[int, int]:
        if turns == (0, 0):
            raise ValueError("turns are 0 and 0, one must be more")
        return turns


class Sizes(Section):
    """Of the nano networks, as in `network.Config`."""

    channels: tuple[Count1, ...] = Config.channels
    heads: tuple[Count, ...] = Config.heads
    layers: Count1 = Config.layers
    groups: Count1 = Config.groups
    hint_channels: tuple[Count1, ...] = (16, 32, 96)

    @model_validator(mode="after")
    def _makes_networks(self) -> "Sizes":
        if not any(self.heads) or len(self.heads) != len(self.channels):
            raise ValueError("network needs as many heads as channels, and not only 0")
        if 2 ** (len(self.hint_channels) - 1) != PATCH:  # all but the first halve the defocus map
            raise ValueError(
                f"network has {len(self.hint_channels)} hint_channels, which don't lead to patches of {PATCH} pixels"
            )
        for width, heads in zip(self.channels, self.heads):
            if width % self.groups or (heads and width % heads):
                raise ValueError(
                    f"network has {width} channels for {self.groups} groups and {heads} heads, which must divide them"
                )
        return self


class Settings(Section):
    """A whole run.

    base: Stable Diffusion 2.1-base, a folder or file; None for the nano networks. network: sizes of these.
    sr_rank, bokeh_rank: of the LoRAs. masks: attention keeps focus and rest apart in bokeh steps; without them is an ablation.
    lpips: weight of LPIPS in the loss, for which the package lpips is needed. gradient: weight of the differences between
    neighbours; None: 1, but 0 beside LPIPS.
    clip: largest norm of the gradients. precision: "no", "bf16" or "fp16", of the computation. ema: decay of the averaged weights.
    save_seconds: between saved states. sheet_steps: between sample sheets. saved: "fp32", "fp16" or "bf16", of the merged file.
    """

    stages: tuple[Stage, ...] = Field(max_length=99)  # each has its own seed, see `train.train`
    data: Data = Data()
    base: Path | None = None
    network: Sizes = Sizes()
    sr_rank: Count1 = 4
    bokeh_rank: Count = 64
    masks: bool = True
    lpips: From0 = 0.0
    gradient: From0 | None = None
    clip: Above0 = 1.0
    precision: Precision = "no"
    ema: Annotated[Number, Field(ge=0, le=1)] = 0.999
    seed: Seed = 0
    save_seconds: From0 = 60.0
    sheet_steps: Count1 = 500
    saved: Literal["fp32", "fp16", "bf16"] = "fp32"

    def identity(self, stages: int) -> dict[str, Any]:
        """All settings, as JSON has them, that decide what the first so many stages make."""
        content = self.model_dump(
            mode="json", exclude={"save_seconds": True, "sheet_steps": True, "saved": True, "data": {"workers"}}
        )
        return {**content, "stages": content["stages"][:stages]}


class _Loader(yaml.SafeLoader):
    """Takes 5e-5 for a number, as YAML 1.2 does; PyYAML asks for a dot and a sign."""


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"[-+]?(\d+\.?\d*|\.\d+)[eE][-+]?\d+$"), list("-+.0123456789")
)

Kind = TypeVar("Kind", bound=Section)


def read_settings(path: Path) -> Settings:
    """Raises ValueError for a file that is no YAML and for wrong, unknown and missing entries, all in one line."""
    return read(Settings, path, "stages")


def read(kind: type[Kind], path: Path, needed: str) -> Kind:
    """Settings of a kind from a file, which must have an entry `needed`. Raises ValueError as `read_settings` does."""
    try:
        content = yaml.load(path.read_bytes(), _Loader)
    except (yaml.YAMLError, ValueError, LookupError, AttributeError, RecursionError) as error:  # PyYAML raises all of them
        raise ValueError(f"{path.name} is no YAML: {' '.join(str(error).split())}.") from None
    if not isinstance(content, dict) or not content.get(needed):
        raise ValueError(f"{path.name} has no {needed}; see docs/training.md.")
    try:
        return kind.model_validate(content)
    except ValidationError as error:
        raise ValueError(f"{path.name}: {'; '.join(_say(kind, flaw) for flaw in error.errors())}.") from None


def _say(kind: type[Section], flaw: ErrorDetails) -> str:
    """What is wrong with an entry, and what is allowed."""
    if flaw["type"] == "value_error":
        return str(flaw["ctx"]["error"]).rstrip(".")
    name, place = locate(flaw["loc"])
    if flaw["type"] == "missing":
        return f"{name} is missing{place}"
    if flaw["type"] in ("extra_forbidden", "unexpected_keyword_argument"):
        section: Any = kind
        if place:
            section = kind.model_fields[str(flaw["loc"][0])].annotation
            section = next(iter(get_args(section)), section)
        return f"unknown entry {name!r}{place} (known are {', '.join(signature(section).parameters)})"
    wish = re.sub(r"^(Input|Tuple) | or instance of \w+", "", flaw["msg"]).replace("tuple", "list")
    return f"{name}{place} is {reprlib.repr(flaw['input'])} but {wish}"


def locate(loc: Sequence[int | str]) -> tuple[str, str]:
    """An entry's name and where it is: ("rate", " in stage 2") for ("stages", 1, "rate")."""
    match loc:
        case ("stages", int(number)):
            return f"stage {number + 1}", ""
        case ("stages", int(number), name, *_):
            return str(name), f" in stage {number + 1}"
        case ("data" | "network" as section, name, *_):
            return str(name), f" in {section}"
    return str(loc[0]), ""
