import click
import torch

from .. import files
from ..color import linear_to_srgb
from ..focal_plane import tilted
from ..lens import radius_map, render
from ..lenses import aperture_of
from ..planes import fit
from .inputs import (
    Bar,
    brings_depth,
    compute_device,
    find_camera,
    find_focus,
    find_k,
    find_settings,
    read_disparity,
    read_iris,
    read_matte,
    read_portrait_photo,
)
from .options import (
    CAMERA,
    DEPTH_MAP,
    EXISTING,
    NORMALIZE,
    OUTPUT,
    camera_options,
    device_option,
    look_options,
    output_option,
    scene_options,
)

FLAT = 0.5  # disparity of a photo without any depth, through a lens whose focal plane is tilted


@click.command()
@click.argument("photo", type=EXISTING)
@click.option("--disparity", "-d", type=EXISTING, help=f"{DEPTH_MAP} Portrait photos of phones bring their own.")
@scene_options
@camera_options
@click.option("--normalize", type=NORMALIZE, default="percentile", show_default=True)
@look_options
@click.option("--highlight-boost", type=click.FloatRange(0), default=0, help="Stops of light given back to blurred highlights.")
@click.option("--near-scale", type=click.FloatRange(0), default=1, help="Factor on the blur in front of the focus.")
@click.option("--far-scale", type=click.FloatRange(0), default=1, help="Factor on the blur behind the focus.")
@click.option("--grain", type=click.FloatRange(0, 1), default=0, help="Noise put back where the blur takes it, 1 = all.")
@click.option("--grain-seed", type=int, default=0, help="Another number gives other grain.")
@click.option(
    "--matte", type=EXISTING, help="Coverage of the subject, white or opaque where it is. PHOTO itself: its transparency."
)
@click.option("--background", type=EXISTING, help="The photo without the subject, for what its blur uncovers; needs --matte.")
@click.option("--save-radius", type=OUTPUT, help="Signed blur radius in pixels, as .exr, .tif or .npy.")
@click.option("--save-iris", type=OUTPUT, help="Picture of a disc.")
@device_option
@output_option
def lens_command(
    photo, disparity, focus, focus_point, focus_mask, k, focus_range, falloff, tilt, tilt_direction, convention, layer, normalize,
    lens, iris, highlight_boost, near_scale, far_scale, grain, grain_seed, matte, background, save_radius, save_iris, device, output, **more,
):  # fmt: skip
    """Photograph PHOTO through a fast lens, by optics alone. An EXR is scene-linear light, in and out."""
    device = compute_device(device)
    files.check_output(output)
    if save_radius is not None:
        files.check_numbers_output(save_radius)
    if save_iris is not None:
        files.check_output(save_iris)
    camera = find_camera(**{name: more.pop(name) for name in CAMERA})
    aperture = aperture_of(lens, **more, picture=None if iris is None else read_iris(iris))
    portrait, space = None, files.color_space(photo)
    if disparity is not None:
        rgb, alpha = files.read_photo(photo, space)
        near, ends = read_disparity(disparity, convention, normalize, rgb.shape[-2:], layer)
    elif tilt and not brings_depth(photo):
        rgb, alpha = files.read_photo(photo, space)
        near = torch.full((1, 1, *rgb.shape[-2:]), FLAT)
        focus = FLAT if focus is None and focus_point is None and focus_mask is None else focus
    else:
        portrait, near = read_portrait_photo(photo, "--disparity")
        rgb, alpha = portrait.image, portrait.alpha
    size = rgb.shape[-2:]
    if camera is None:
        levelled = tilted(near, tilt, tilt_direction)
        focus, k = find_focus(levelled, focus, focus_point, focus_mask, portrait=portrait), find_k(k, portrait)
    else:
        focus, k = find_settings(camera, near, ends, size)
    layers = {}
    if matte is not None:
        layers["matte"] = fit(read_matte(matte), size, "--matte")
        alpha = None if matte == photo else alpha
    if background is not None:
        layers["background"] = fit(files.read_photo(background, space)[0], size, "--background")
    shape = {
        "near_scale": near_scale,
        "far_scale": far_scale,
        "focus_range": focus_range,
        "falloff": falloff,
        "tilt": tilt,
        "tilt_direction": tilt_direction,
    }
    result = render(
        rgb,
        near,
        focus,
        k,
        aperture=aperture,
        highlight_boost=highlight_boost,
        progress=Bar("lens"),
        alpha=alpha,
        device=device,
        color_space=space,
        grain=grain,
        grain_seed=grain_seed,
        **layers,
        **shape,
    )
    files.write_photo(output, result[:, :3], None if alpha is None else result[:, 3:], files.read_origin(photo), space)
    if save_radius is not None:
        files.write_numbers(save_radius, radius_map(near, size, focus, k, **shape))
    if save_iris is not None:
        files.write_photo(save_iris, linear_to_srgb(aperture.drawn())[None])
    click.echo(f"{output}: focus {focus:.4f}, K {k:g}")
