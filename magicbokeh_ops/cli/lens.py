import click

from .. import files, lens
from ..aperture import Aperture
from .inputs import Bar, compute_device, find_camera, find_focus, find_k, find_settings, read_disparity, read_portrait_photo
from .options import DEPTH_MAP, EXISTING, NORMALIZE, camera_options, device_option, output_option, scene_options


@click.command()
@click.argument("photo", type=EXISTING)
@click.option("--disparity", "-d", type=EXISTING, help=f"{DEPTH_MAP} Portrait photos of phones bring their own.")
@scene_options
@camera_options
@click.option("--normalize", type=NORMALIZE, default="percentile", show_default=True)
@click.option("--blades", type=int, default=0, help="Blades of the iris; 0 = round.")
@click.option("--rotation", type=float, default=0, help="Turn of the iris in degrees.")
@click.option("--roundness", type=float, default=0, help="0 = straight blades, 1 = circle.")
@click.option("--squeeze", type=float, default=1, help="Anamorphic squeeze, 1 or more.")
@click.option("--cat-eye", type=float, default=0, help="Cut of the discs in the corners, 0..1.")
@click.option("--highlight-boost", type=click.FloatRange(0), default=0, help="Stops of light given back to blurred highlights.")
@click.option("--near-scale", type=click.FloatRange(0), default=1, help="Factor on the blur in front of the focus.")
@click.option("--far-scale", type=click.FloatRange(0), default=1, help="Factor on the blur behind the focus.")
@device_option
@output_option
def lens_command(
    photo, disparity, focus, focus_point, focus_mask, k, focus_range, falloff, convention, layer, normalize, blades, rotation, roundness, squeeze, cat_eye,
    highlight_boost, near_scale, far_scale, device, output, **camera,
):  # fmt: skip
    """Photograph PHOTO through a fast lens, by optics alone. An EXR is scene-linear light, in and out."""
    device = compute_device(device)
    files.check_output(output)
    camera = find_camera(**camera)
    portrait, space = None, files.color_space(photo)
    if disparity is None:
        portrait, near = read_portrait_photo(photo, "--disparity")
        rgb, alpha = portrait.image, portrait.alpha
    else:
        rgb, alpha = files.read_photo(photo, space)
        near, ends = read_disparity(disparity, convention, normalize, rgb.shape[-2:], layer)
    if camera is None:
        focus, k = find_focus(near, focus, focus_point, focus_mask, portrait=portrait), find_k(k, portrait)
    else:
        focus, k = find_settings(camera, near, ends, rgb.shape[-2:])
    result = lens.render(
        rgb,
        near,
        focus,
        k,
        aperture=Aperture(blades, rotation, roundness, squeeze, cat_eye),
        highlight_boost=highlight_boost,
        near_scale=near_scale,
        far_scale=far_scale,
        progress=Bar("lens"),
        alpha=alpha,
        device=device,
        color_space=space,
        focus_range=focus_range,
        falloff=falloff,
    )
    files.write_photo(output, result[:, :3], None if alpha is None else result[:, 3:], files.read_origin(photo), space)
    click.echo(f"{output}: focus {focus:.4f}, K {k:g}")
