"""What options mean: where the focus lies, the disparity of a file, the device; and how progress is shown."""

from collections.abc import Sequence
from pathlib import Path

import click
import torch
from click.core import ParameterSource
from torch import Tensor
from tqdm import tqdm

from .. import defocus, files
from ..focus import choose_focus
from ..portrait import Portrait, read_portrait


class Bar:
    """A progress bar for callbacks that give (done, steps)."""

    def __init__(self, text: str):
        self.bar = tqdm(desc=text, unit="step")

    def __call__(self, done: int, steps: int) -> None:
        self.bar.total = steps
        self.bar.update(done - self.bar.n)
        if done == steps:
            self.bar.close()


def find_focus(
    disparity: Tensor,
    value: float | None,
    at: tuple[float, float] | None,
    mask: Path | None,
    released: bool = False,
    portrait: Portrait | None = None,
) -> float:
    """Disparity in focus. released: a mask counts as in the released front end.

    portrait: where the disparity comes from; its own focus, or else its nearest subject, is taken if none of the three is given.
    Raises UsageError if none, or more than one, is.
    """
    if portrait is not None and value is None and at is None and mask is None:
        return choose_focus(disparity, "nearest subject") if portrait.focus is None else portrait.focus
    if value is not None and at is None and mask is None:
        return value
    if at is not None and value is None and mask is None:
        return choose_focus(disparity, "point", point=at)
    if mask is not None and value is None and at is None:
        return choose_focus(disparity, "mask", mask=files.read_map(mask), released=released)
    raise click.UsageError("Say where the focus lies with one of --focus, --focus-point and --focus-mask.")


def find_k(k: float, portrait: Portrait | None) -> float:
    """The option's value, or that of the phone where only its own file could say."""
    is_default = click.get_current_context().get_parameter_source("k") is ParameterSource.DEFAULT
    return portrait.k if is_default and portrait is not None and portrait.k is not None else k


def read_portrait_photo(path: Path, otherwise: str) -> tuple[Portrait, Tensor]:
    """A photo and the disparity that it brings along. otherwise: the options that give it. Raises UsageError if it brings none."""
    portrait = None if path.suffix.lower() in (*files.ARRAYS, ".exr") else read_portrait(path)
    if portrait is None or portrait.disparity is None:
        raise click.UsageError(f"{path} brings no depth map; give one with {otherwise}.")
    defocus.check_same_shape(portrait.disparity, portrait.image.shape[-2:], "its depth map")
    return portrait, portrait.disparity


def read_disparity(path: Path, convention: str, normalize: str, size: Sequence[int], layer: str | None = None) -> Tensor:
    """What `defocus.normalize` makes of the depth map of a photo of `size` (height, width). layer: of an EXR with several."""
    depth = files.read_map(path, layer, in_any_unit=convention == "distance")
    try:
        near = defocus.normalize(defocus.to_disparity(depth, convention), normalize)
        defocus.check_same_shape(near, size, "disparity")
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None
    return near


def compute_device(name: str | None) -> torch.device:
    if name is None:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.zeros((), device=name).device
    except (RuntimeError, AssertionError, ModuleNotFoundError):
        device = torch.device("meta")
    if device.type == "meta":  # which holds nothing
        raise click.UsageError(f"There is no device {name!r} here; --device takes cpu, cuda, mps and the like.")
    return device
