import click
import torch

from .. import files
from ..depth import refine_edges
from ..planes import resize
from .inputs import compute_device, load_depth, read_portrait_photo
from .options import EXISTING, EXISTING_FOLDER_TOO, OUTPUT, depth_options, device_option


@click.command()
@click.argument("photo", type=EXISTING)
@click.option(
    "--model",
    type=EXISTING_FOLDER_TOO,
    help="Depth Anything V2 or DAdepth.pth: a .pth or .safetensors file, or a transformers folder. Without it, PHOTO must bring its own.",
)
@depth_options
@device_option
@click.option("--output", "-o", type=OUTPUT, required=True, help=".npy for floats, or a 16-bit .png or .tif.")
def depth_command(photo, model, input_size, refine, device, output):
    """Disparity of PHOTO, 1 = nearest, by a depth model or from a phone's portrait photo."""
    device = compute_device(device)
    files.check_map_output(output)
    if model is None:
        portrait, near = read_portrait_photo(photo, "--model")
        near = resize(near, portrait.image.shape[-2:])
        if refine:
            near = refine_edges(portrait.image, near, refine, device=device)
    else:
        with torch.inference_mode():
            near = load_depth(model, input_size, device, refine)(files.read_photo(photo)[0])
    files.write_map(output, near)
    click.echo(f"{output}: {near.shape[-1]} x {near.shape[-2]}")
