"""The `magicbokeh` command: everything that needs no ComfyUI."""

from pathlib import Path

import click
import torch
import torch.nn.functional as F
from torch import Tensor
from tqdm import tqdm

from . import defocus, files, lens
from .aperture import Aperture
from .demo import demo_photo
from .overlay import focus_overlay

EXISTING = click.Path(exists=True, dir_okay=False, path_type=Path)
OUTPUT = click.Path(dir_okay=False, path_type=Path)


class Group(click.Group):
    """Commands whose bad input ends in one line and exit code 1."""

    def invoke(self, ctx: click.Context):
        try:
            return super().invoke(ctx)
        except (ValueError, OSError) as error:
            raise click.ClickException(str(error)) from None


@click.group(cls=Group, context_settings={"help_option_names": ["-h", "--help"]})
def main():
    """Depth of field for photos, from their disparity."""


class Bar:
    """A progress bar for callbacks that give (done, steps)."""

    def __init__(self, text: str):
        self.bar = tqdm(desc=text, unit="step")

    def __call__(self, done: int, steps: int) -> None:
        self.bar.total = steps
        self.bar.update(done - self.bar.n)
        if done == steps:
            self.bar.close()


def point(_ctx, _param, value: str | None) -> tuple[float, float] | None:
    if value is None:
        return None
    try:
        x, y = (float(part) for part in value.split(","))
    except ValueError:
        raise click.BadParameter(f"{value!r} is not two numbers like 0.5,0.6.") from None
    return x, y


def find_focus(disparity: Tensor, value: float | None, at: tuple[float, float] | None, mask: Path | None) -> float:
    if value is not None and at is None and mask is None:
        return value
    if at is not None and value is None and mask is None:
        return defocus.focus_from_point(disparity, *at)
    if mask is not None and value is None and at is None:
        return defocus.focus_from_mask(disparity, files.read_map(mask))
    raise click.UsageError("Say where the focus lies with one of --focus, --focus-point and --focus-mask.")


def compute_device(name: str | None) -> torch.device:
    if name is None:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        return torch.zeros((), device=name).device
    except (RuntimeError, AssertionError):
        raise click.UsageError(f"There is no device {name!r} here.") from None


@main.command("lens")
@click.argument("photo", type=EXISTING)
@click.option(
    "--disparity",
    "-d",
    type=EXISTING,
    required=True,
    help="Depth map, white = nearest unless --convention says otherwise: picture, EXR, TIFF or .npy.",
)
@click.option("--focus", type=click.FloatRange(0, 1), help="Disparity in focus.")
@click.option("--focus-point", callback=point, metavar="X,Y", help="Focus on what lies here, 0..1 from left and top.")
@click.option("--focus-mask", type=EXISTING, help="Focus on the median disparity under this mask.")
@click.option(
    "--k", type=click.FloatRange(0), default=24, show_default=True, help="Blur radius in pixels from nearest to farthest."
)
@click.option(
    "--convention",
    type=click.Choice(list(defocus.CONVENTIONS.values())),
    default="disparity",
    show_default=True,
    help="What the map's values mean.",
)
@click.option("--normalize", type=click.Choice(["none", "minmax", "percentile"]), default="percentile", show_default=True)
@click.option("--blades", type=int, default=0, help="Blades of the iris; 0 = round.")
@click.option("--rotation", type=float, default=0, help="Turn of the iris in degrees.")
@click.option("--roundness", type=float, default=0, help="0 = straight blades, 1 = circle.")
@click.option("--squeeze", type=float, default=1, help="Anamorphic squeeze, 1 or more.")
@click.option("--cat-eye", type=float, default=0, help="Cut of the discs in the corners, 0..1.")
@click.option("--highlight-boost", type=click.FloatRange(0), default=0, help="Stops of light given back to blurred highlights.")
@click.option("--near-scale", type=click.FloatRange(0), default=1, help="Factor on the blur in front of the focus.")
@click.option("--far-scale", type=click.FloatRange(0), default=1, help="Factor on the blur behind the focus.")
@click.option("--device", help="cpu, cuda, mps ...; the GPU if there is one.")
@click.option("--output", "-o", type=OUTPUT, required=True, help="Picture, or .npy for exact floats.")
def lens_command(
    photo, disparity, focus, focus_point, focus_mask, k, convention, normalize, blades, rotation, roundness, squeeze, cat_eye,
    highlight_boost, near_scale, far_scale, device, output,
):  # fmt: skip
    """Photograph PHOTO through a fast lens, by optics alone."""
    device = compute_device(device)
    files.check_output(output)
    rgb, alpha = files.read_photo(photo)
    near = defocus.normalize(defocus.to_disparity(files.read_map(disparity), convention), normalize)
    focus = find_focus(near, focus, focus_point, focus_mask)
    result = lens.render(
        rgb.to(device),
        near.to(device),
        focus,
        k,
        aperture=Aperture(blades, rotation, roundness, squeeze, cat_eye),
        highlight_boost=highlight_boost,
        near_scale=near_scale,
        far_scale=far_scale,
        progress=Bar("lens"),
    )
    files.write_photo(output, result, alpha)
    click.echo(f"{output}: focus {focus:.4f}, K {k:g}")


@main.command("demo")
@click.option(
    "--output", "-o", type=click.Path(file_okay=False, path_type=Path), default="demo_output", show_default=True, help="Folder."
)
def demo_command(output):
    """Render the bundled photo in a few ways and write the pictures with a side-by-side sheet."""
    output.mkdir(parents=True, exist_ok=True)
    photo, disparity = demo_photo()
    face, helmet, shuttle = (0.42, 0.19), (0.74, 0.83), (0.80, 0.30)
    focus = defocus.focus_from_point(disparity, *face)
    pictures = {
        "input": photo,
        "focus_map": focus_overlay(photo, disparity, focus, 24, face),
        "face_k12": lens.render(photo, disparity, focus, 12, progress=Bar("face, K 12")),
        "face_k32": lens.render(photo, disparity, focus, 32, progress=Bar("face, K 32")),
    }
    for name, at in (("helmet", helmet), ("shuttle", shuttle)):
        focus = defocus.focus_from_point(disparity, *at)
        pictures[f"{name}_k24"] = lens.render(photo, disparity, focus, 24, progress=Bar(f"{name}, K 24"))
    for name, picture in pictures.items():
        files.write_photo(output / f"{name}.png", picture)
    rows = [torch.cat([F.pad(p, (4, 4, 4, 4), value=1) for p in list(pictures.values())[i : i + 3]], -1) for i in (0, 3)]
    sheet = output / "sheet.jpg"
    files.write_photo(sheet, torch.cat(rows, -2))
    click.echo(f"{len(pictures)} pictures, and all of them side by side in {sheet.resolve()}: {', '.join(pictures)}.")
