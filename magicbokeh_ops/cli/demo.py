import click
import torch
import torch.nn.functional as F

from .. import defocus, files, lens
from ..aperture import IrisPicture
from ..demo import ASSETS, NANO, NANO_LABEL, demo_photo, noisy_demo_photo
from ..lenses import aperture_of
from ..overlay import focus_overlay
from ..portrait import read_portrait
from ..renderer import load_renderer
from ..weights import checkpoint
from .inputs import Bar
from .options import NEW_FOLDER


@click.command()
@click.option("--output", "-o", type=NEW_FOLDER, default="demo_output", show_default=True, help="Folder.")
def demo_command(output):
    """Render the bundled photos in a few ways and write the pictures with a side-by-side sheet."""
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
    night = read_portrait(ASSETS / "lamps.jpg")
    mug = defocus.focus_from_point(night.disparity, 0.35, 0.66)
    heart = IrisPicture(files.read_map(ASSETS / "heart.png")[0])
    lenses = {
        "soap_bubble": aperture_of("soap bubble"),
        "mirror": aperture_of("mirror"),
        "heart": aperture_of(picture=heart),
    }
    for name, aperture in lenses.items():
        progress = Bar(f"lamps, {name.replace('_', ' ')}, K 36")
        pictures[f"lamps_{name}_k36"] = lens.render(
            night.image, night.disparity, mug, 36, aperture=aperture, highlight_boost=3.5, progress=progress
        )
    noisy = noisy_demo_photo()
    focus = defocus.focus_from_point(disparity, *face)
    blur = defocus.defocus_map(disparity, focus, 24)
    nano = load_renderer(checkpoint.load(NANO), torch.device("cpu"), torch.float32)
    progress = Bar(f"{NANO_LABEL}, K 24")
    pictures["noisy"] = noisy
    pictures["noisy_lens_k24"] = lens.render(noisy, disparity, focus, 24)
    pictures["noisy_nano_k24"], _ = nano(noisy, blur, defocus.focus_mask(blur), progress=progress)
    for name, picture in pictures.items():
        files.write_photo(output / f"{name}.png", picture)
    rows = [
        torch.cat([F.pad(p, (4, 4, 4, 4), value=1) for p in list(pictures.values())[i : i + 3]], -1) for i in range(0, 12, 3)
    ]
    sheet = output / "sheet.jpg"
    files.write_photo(sheet, torch.cat(rows, -2))
    click.echo(f"{len(pictures)} pictures, and all of them side by side in {sheet.resolve()}: {', '.join(pictures)}.")
