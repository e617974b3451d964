"""Options of commands that load a model, and what they mean."""

from collections.abc import Callable
from functools import lru_cache
from pathlib import Path

import click
import torch

from .. import sampler
from ..demo import NANO, NANO_LABEL
from ..renderer import load_renderer
from ..weights import checkpoint
from ..weights.parts import DTYPES
from .options import EXISTING, EXISTING_FOLDER_TOO, options


class ModelFile(click.Path):
    """A merged file, or the word nano for the one that comes with the pack."""

    def convert(self, value, param, ctx):
        if value == "nano":
            click.echo(f"{NANO_LABEL}: a small model that shows what the full one does, not how well.", err=True)
            value = NANO
        return super().convert(value, param, ctx)


weights_options = options(
    click.option("--base", type=EXISTING_FOLDER_TOO, help="Stable Diffusion 2.1-base: a diffusers folder or a single file."),
    click.option("--adapter", type=EXISTING, help="The released MagicBokeh weights (lora.pkl), which go with --base."),
)
model_options = options(
    weights_options,
    click.option(
        "--model",
        type=ModelFile(exists=True, dir_okay=False, path_type=Path),
        help="A merged file, made by `magicbokeh convert` or ComfyUI, instead of the two; or nano, the demonstration that comes along.",
    ),
    click.option(
        "--preset",
        type=click.Choice(sampler.PRESETS),
        default="fast",
        show_default=True,
        help="reference: the released procedure to the digit, with its 8-bit disparity, up to three times the work.",
    ),
)
dtype_option = click.option("--dtype", type=click.Choice(list(DTYPES)), help="[default: fp32 on the CPU, fp16 on a GPU]")


def compute_dtype(name: str | None, device: torch.device) -> torch.dtype:
    return DTYPES[name or ("fp32" if device.type == "cpu" else "fp16")]


def read_weights(base: Path | None, adapter: Path | None, model: Path | None, dtype: torch.dtype) -> checkpoint.Weights:
    if model is not None and base is None and adapter is None:
        return checkpoint.load(model)
    if model is None and base is not None and adapter is not None:
        return checkpoint.merge(checkpoint.read_base(base, mapped=True), checkpoint.read_adapter(adapter, mapped=True), dtype)
    raise click.UsageError("Give either --base and --adapter, or --model.")


@lru_cache(1)  # for the photos of a folder
def find_renderer(
    base: Path | None, adapter: Path | None, model: Path | None, device: torch.device, dtype: torch.dtype
) -> Callable:
    """`load_renderer` with the weights of `read_weights`."""
    return load_renderer(read_weights(base, adapter, model, dtype), device, dtype)
