import click
import torch

from .. import defocus, files, sampler
from ..focal_plane import tilted
from .inputs import Bar, compute_device, find_focus, find_k, load_depth, read_disparity, read_portrait_photo
from .models import compute_dtype, dtype_option, find_renderer, model_options
from .options import (
    DEPTH_MAP,
    EXISTING,
    EXISTING_FOLDER_TOO,
    NORMALIZE,
    OUTPUT_OR_FOLDER,
    depth_model_option,
    depth_options,
    device_option,
    many_options,
    scene_options,
)
from .photos import each_photo, refuse_folders


@click.command()
@click.argument("photo", type=EXISTING_FOLDER_TOO)
@click.option("--disparity", "-d", type=EXISTING_FOLDER_TOO, help=DEPTH_MAP)
@depth_model_option
@depth_options
@scene_options(EXISTING_FOLDER_TOO)
@click.option(
    "--normalize",
    type=NORMALIZE,
    help="How disparity is stretched to 0..1. [default: percentile; none for the reference preset]",
)
@model_options
@click.option("--upscale", type=click.FloatRange(1, sampler.UPSCALE_LIMIT), default=1, show_default=True)
@click.option(
    "--color-fix",
    type=click.Choice(list(sampler.COLOR_FIXES)),
    default="adain",
    show_default=True,
    help="How the colours of the input are kept. nano and its like keep them by themselves: adain does nothing there.",
)
@click.option(
    "--seed", type=click.IntRange(-(2**63), 2**64 - 1), help="Sample the VAE's posterior; its mean is taken otherwise."
)
@click.option(
    "--noise",
    type=EXISTING,
    help="Recorded noise of the posterior instead, .npy of (tiles, 4, 64, 64) in the released order, for --preset reference.",
)
@dtype_option
@device_option
@many_options("Take the photos of a folder")
@click.option(
    "--output", "-o", type=OUTPUT_OR_FOLDER, required=True, help="Picture, or .npy for exact floats; a folder for a folder."
)
def render_command(
    photo, disparity, depth_model, input_size, refine, focus, focus_point, focus_mask, k, focus_range, falloff, tilt, tilt_direction, convention, layer, normalize, base, adapter, model, preset,
    upscale, color_fix, seed, noise, dtype, device, workers, ray, output,
):  # fmt: skip
    """Restore PHOTO and give it bokeh, by the MagicBokeh model. With --k 0 it is only restored.

    PHOTO may be a folder of photos, and so may be the maps and masks that go with them.
    """
    if photo.is_dir() or workers is not None or ray is not None:
        each_photo(refused=("noise",))
        return
    refuse_folders()
    device = compute_device(device)
    dtype = compute_dtype(dtype, device)
    files.check_output(output)
    released = preset == "reference"
    normalize = normalize or ("none" if released else "percentile")
    if disparity is not None and depth_model is not None:
        raise click.UsageError("Give either --disparity or --depth-model.")
    portrait = None
    if disparity is not None:
        rgb, alpha = files.read_photo(photo)
        near, _ = read_disparity(disparity, convention, normalize, rgb.shape[-2:], layer)
    elif depth_model is not None:
        rgb, alpha = files.read_photo(photo)
        with torch.inference_mode():
            near = defocus.normalize(load_depth(depth_model, input_size, device, refine)(rgb), normalize)
    else:
        portrait, near = read_portrait_photo(photo, "--disparity or --depth-model")
        rgb, alpha = portrait.image, portrait.alpha
    if released:
        near = defocus.cut_to_8_bit(near)
    near = tilted(near, tilt, tilt_direction)
    focus, k = find_focus(near, focus, focus_point, focus_mask, released, portrait), find_k(k, portrait)
    noise = None if noise is None else files.read_array(noise)
    render = find_renderer(base, adapter, model, device, dtype)
    blur = defocus.defocus_map(near, focus, k, focus_range, falloff)
    with torch.inference_mode():
        result, _ = render(
            rgb,
            blur,
            defocus.focus_mask(blur),
            preset=preset,
            upscale=upscale,
            color_fix=color_fix,
            seed=seed,
            noise=noise,
            progress=Bar("render"),
        )
    if alpha is not None:
        alpha = defocus.resize(alpha, result.shape[-2:])
    files.write_photo(output, result, alpha, files.read_origin(photo))
    click.echo(f"{output}: focus {focus:.4f}, K {k:g}")
