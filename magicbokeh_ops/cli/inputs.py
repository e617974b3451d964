"""What options mean: where the focus lies, the disparity of a file, the device; and how progress is shown."""

from collections.abc import Callable, Sequence
from contextvars import ContextVar
from functools import lru_cache
from pathlib import Path

import click
import torch
from click.core import ParameterSource
from torch import Tensor
from tqdm import tqdm

from .. import defocus, files
from ..aperture import IrisPicture
from ..camera import FULL_FRAME, Camera, check_distances
from ..focus import choose_focus
from ..portrait import Portrait, read_portrait

SAY_FOCUS = "Say where the focus lies with one of --focus, --focus-point and --focus-mask."
ONE_OF_MANY = ContextVar("ONE_OF_MANY", default=False)  # whether more photos follow in this process


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
    raise click.UsageError(SAY_FOCUS)


def find_k(k: float, portrait: Portrait | None) -> float:
    """The option's value, or that of the phone where only its own file could say."""
    is_default = click.get_current_context().get_parameter_source("k") is ParameterSource.DEFAULT
    return portrait.k if is_default and portrait is not None and portrait.k is not None else k


def find_camera(
    focal_length: float | None, f_number: float | None, focus_distance: float | None, sensor: tuple[float, float] | None
) -> Camera | None:
    """The camera of `camera_options`, None if none of them is given.

    Raises UsageError for a part of them, beside other options for focus and k, and for a depth map that is not of distances.
    """
    if focal_length is None and f_number is None and focus_distance is None and sensor is None:
        return None
    if focal_length is None or f_number is None or focus_distance is None:
        raise click.UsageError("A camera is --focal-length, --f-number and --focus-distance together.")
    context = click.get_current_context()
    for name in ("focus", "focus_point", "focus_mask", "track", "keys", "k"):
        if context.get_parameter_source(name) is not ParameterSource.DEFAULT:
            raise click.UsageError(
                f"Leave out --{name.replace('_', '-')}: --focal-length and the rest say what focus and k are."
            )
    if context.params["disparity"] is None or context.params["convention"] != "distance":
        raise click.UsageError(
            "--focal-length needs distances in metres: give them with --disparity and --convention distance."
        )
    return Camera(focal_length, f_number, focus_distance, sensor or FULL_FRAME)


def read_portrait_photo(path: Path, otherwise: str) -> tuple[Portrait, Tensor]:
    """A photo and the disparity that it brings along. otherwise: the options that give it. Raises UsageError if it brings none."""
    portrait = _portrait(path)
    if portrait is None or portrait.disparity is None:
        raise click.UsageError(f"{path} brings no depth map; give one with {otherwise}.")
    defocus.check_same_shape(portrait.disparity, portrait.image.shape[-2:], "its depth map")
    return portrait, portrait.disparity


def read_matte(path: Path) -> Tensor:
    """A matte (1, 1, h, w): the transparency of a picture that has one, else its brightness."""
    alpha = files.read_photo(path)[1]
    return files.read_map(path).clamp(0, 1) if alpha is None else alpha


def read_iris(path: Path) -> IrisPicture:
    colors, alpha = files.read_photo(path)
    return IrisPicture.of_photo(colors[0], None if alpha is None else alpha[0])


def brings_depth(path: Path) -> bool:
    """Whether a photo brings its depth along."""
    portrait = _portrait(path)
    return portrait is not None and portrait.disparity is not None


def _portrait(path: Path) -> Portrait | None:
    return None if path.suffix.lower() in (*files.ARRAYS, ".exr") else read_portrait(path)


def read_disparity(
    path: Path, convention: str, normalize: str, size: Sequence[int], layer: str | None = None
) -> tuple[Tensor, tuple[Tensor, Tensor]]:
    """What `defocus.normalize` makes of the depth map of a photo of `size` (height, width), and what became 0 and 1.

    layer: of an EXR with several.
    """
    depth = files.read_map(path, layer, in_any_unit=convention == "distance")
    try:
        found = defocus.to_disparity(depth, convention)
        ends = defocus.find_range(lambda: [found], normalize)
        near = defocus.stretch(found, *ends)
        defocus.check_same_shape(near, size, "disparity")
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None
    return near, ends


def find_settings(camera: Camera, near: Tensor, ends: tuple[Tensor, Tensor], size: Sequence[int]) -> tuple[float, float]:
    """Focus and k of a camera, for what `read_disparity` gives of distances. Says what it makes of the scene."""
    far_end, near_end = (float(end) for end in ends)
    click.echo(camera.describe(far_end, near_end, size))
    doubt = check_distances(lambda: [far_end + near * (near_end - far_end)])
    if doubt:
        click.echo(doubt)
    return camera.focus_and_k(far_end, near_end, size)


def load_network(model: Path, device: torch.device) -> torch.nn.Module:
    """A depth model. Raises ClickException where packages are missing that the lens itself does without."""
    try:
        from .. import depth

        tensors, config = depth.read_depth(model)
        return depth.build(tensors, config, model.name).to(device)
    except ModuleNotFoundError as error:
        raise click.ClickException(f"A depth model needs {error.name}: pip install 'magicbokeh[model]'.") from None


# For many photos; for one, its memory is better free while that is rendered.
kept_network = lru_cache(1)(load_network)


def load_depth(model: Path, input_size: int, device: torch.device, refine: int = 0) -> Callable[[Tensor], Tensor]:
    network = (kept_network if ONE_OF_MANY.get() else load_network)(model, device)
    from .. import depth

    def find(photo: Tensor) -> Tensor:
        near = depth.disparity(network, photo, input_size)
        return depth.refine_edges(photo, near, refine, Bar("refine"), device) if refine else near

    return find


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
