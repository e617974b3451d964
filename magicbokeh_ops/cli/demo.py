import click
import torch
import torch.nn.functional as F

from .. import defocus, files, lens
from ..demo import NANO, NANO_LABEL, demo_photo, noisy_demo_photo
from ..overlay import focus_overlay
from ..renderer import load_renderer
from ..weights import checkpoint
from .inputs import Bar
from .options import NEW_FOLDER


@click.command()
@click.option("--output", "-o", type=NEW_FOLDER, default="demo_output", show_default=True, help="Folder.")
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
    rows = [torch.cat([F.pad(p, (4, 4, 4, 4), value=1) for p in list(pictures.values())[i : i + 3]], -1) for i in (0, 3, 6)]
    sheet = output / "sheet.jpg"
    files.write_photo(sheet, torch.cat(rows, -2))
    click.echo(f"{len(pictures)} pictures, and all of them side by side in {sheet.resolve()}: {', '.join(pictures)}.")
