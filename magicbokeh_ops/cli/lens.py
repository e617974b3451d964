import click
import torch

from .. import defocus, files
from ..color import linear_to_srgb
from ..focal_plane import tilted
from ..lens import radius_map, render
from ..lenses import aperture_of
from ..planes import fit
from ..video.encoders import QUALITY
from .clip import check_clip_output, find_depths, is_clip, open_clip, photograph
from .clip_focus import clip_focus, described, refuse_for_photo
from .inputs import (
    Bar,
    brings_depth,
    compute_device,
    find_camera,
    find_focus,
    find_k,
    find_settings,
    load_depth,
    read_disparity,
    read_iris,
    read_matte,
    read_portrait_photo,
)
from .options import (
    CAMERA,
    DEPTH_MAP,
    EXISTING_FOLDER_TOO,
    FOLLOWING,
    NORMALIZE,
    OUTPUT,
    OUTPUT_OR_FOLDER,
    PHOTO_OR_CLIP,
    camera_options,
    depth_model_option,
    depth_options,
    device_option,
    following_options,
    frame_rate,
    look_options,
    many_options,
    scene_options,
)
from .photos import each_photo, refuse_folders

FLAT = 0.5  # disparity of a photo without any depth, through a lens whose focal plane is tilted


@click.command()
@click.argument("photo", type=PHOTO_OR_CLIP)
@click.option("--disparity", "-d", type=PHOTO_OR_CLIP, help=f"{DEPTH_MAP} Of a clip: a folder, a pattern or a clip.")
@depth_model_option
@depth_options
@scene_options(PHOTO_OR_CLIP, " Of a clip also one of each frame, for a focus that follows what they show.")
@following_options
@camera_options
@click.option("--normalize", type=NORMALIZE, default="percentile", show_default=True)
@look_options
@click.option("--highlight-boost", type=click.FloatRange(0), default=0, help="Stops of light given back to blurred highlights.")
@click.option("--near-scale", type=click.FloatRange(0), default=1, help="Factor on the blur in front of the focus.")
@click.option("--far-scale", type=click.FloatRange(0), default=1, help="Factor on the blur behind the focus.")
@click.option(
    "--breathing", type=click.FloatRange(0, 1), default=0, help="How much larger the picture is with the nearest in focus."
)
@click.option("--grain", type=click.FloatRange(0, 1), default=0, help="Noise put back where the blur takes it, 1 = all.")
@click.option("--grain-seed", type=int, default=0, help="Another number gives other grain.")
@click.option(
    "--matte",
    type=EXISTING_FOLDER_TOO,
    help="Coverage of the subject, white or opaque where it is. PHOTO itself: its transparency.",
)
@click.option(
    "--background", type=EXISTING_FOLDER_TOO, help="The photo without the subject, for what its blur uncovers; needs --matte."
)
@click.option("--save-radius", type=OUTPUT, help="Signed blur radius in pixels, as .exr, .tif or .npy.")
@click.option("--save-iris", type=OUTPUT, help="Picture of a disc.")
@click.option(
    "--quality", type=click.FloatRange(0, 51), default=QUALITY, show_default=True, help="Rate factor of .mp4, less is better."
)
@click.option("--fps", type=frame_rate, default="24", show_default=True, help="Frames per second of a video made of pictures.")
@click.option("--resume", is_flag=True, help="Go on with a clip where an earlier run of this command stopped.")
@click.option(
    "--steady",
    type=click.FloatRange(0, 1),
    help="Takes flicker out of a clip's disparity, 1 = all that can be. [default: 1 with --depth-model, 0 with --disparity]",
)
@device_option
@many_options("Take the photos of a folder each on its own", " Without it, and without --ray, a folder is a clip.")
@click.option(
    "--output",
    "-o",
    type=OUTPUT_OR_FOLDER,
    required=True,
    help="Picture, or .npy for exact floats. Of a clip: .mp4, .mov, .mkv, a folder or a pattern.",
)
def lens_command(
    photo, disparity, depth_model, input_size, refine, focus, focus_point, focus_mask, k, focus_range, falloff, tilt, tilt_direction,
    convention, layer, normalize, lens, iris, highlight_boost, near_scale, far_scale, breathing, grain, grain_seed, matte, background,
    save_radius, save_iris, quality, fps, resume, steady, device, workers, ray, output, **more,
):  # fmt: skip
    """Photograph PHOTO through a fast lens, by optics alone. An EXR is scene-linear light, in and out.

    PHOTO may be a clip: a video, a folder of pictures, or a pattern such as frames/%04d.png.

    With --workers or --ray, PHOTO is a folder of photos, and so may be the maps and masks that go with them.
    """
    if workers is not None or ray is not None:
        each_photo(refused=("save_radius", "save_iris", "save_plot"))
        return
    device = compute_device(device)
    if disparity is not None and depth_model is not None:
        raise click.UsageError("Give either --disparity or --depth-model.")
    moves = is_clip(photo)
    if moves:
        for name, given in (("--matte", matte), ("--background", background), ("--save-radius", save_radius)):
            if given is not None:
                raise click.UsageError(f"{name} is for photos; leave it out for a clip.")
        check_clip_output(output, photo)
    else:
        refuse_for_photo(focus_mask)
        refuse_folders()
        files.check_output(output)
    if save_radius is not None:
        files.check_numbers_output(save_radius)
    if save_iris is not None:
        files.check_output(save_iris)
    camera = find_camera(**{name: more.pop(name) for name in CAMERA})
    following = {name: more.pop(name) for name in FOLLOWING}
    aperture = aperture_of(lens, **more, picture=None if iris is None else read_iris(iris))
    has_no_depth = disparity is None and depth_model is None and tilt and (moves or not brings_depth(photo))
    flat = FLAT if has_no_depth else None
    portrait = None
    if moves:
        source = open_clip(photo, fps)
        wanted = clip_focus(source, focus, focus_point, focus_mask, **following, needed=camera is None, otherwise=flat)
        depths = find_depths(
            source,
            disparity,
            depth_model,
            flat,
            convention=convention,
            normalize=normalize,
            layer=layer,
            input_size=input_size,
            refine=refine,
            device=device,
            kept=wanted.store,
        )
        near, ends, size = depths.sample, depths.ends, source.signal.shown_size
    else:
        space = files.color_space(photo)
        if disparity is None and depth_model is None and not has_no_depth:
            portrait, near = read_portrait_photo(photo, "--disparity or --depth-model")
            rgb, alpha = portrait.image, portrait.alpha
        else:
            rgb, alpha = files.read_photo(photo, space)
        size = rgb.shape[-2:]
        if disparity is not None:
            near, ends = read_disparity(disparity, convention, normalize, size, layer)
        elif depth_model is not None:
            seen = rgb if space == "srgb" else linear_to_srgb(rgb).clamp(max=1)
            with torch.inference_mode():
                near = defocus.normalize(load_depth(depth_model, input_size, device, refine)(seen), normalize)
        elif has_no_depth:
            near = torch.full((1, 1, *size), FLAT)
    if steady is None:
        steady = 0 if depth_model is None else 1  # maps that are given may have been made with care
    if camera is not None:
        focus, k = find_settings(camera, near, ends, size)
    elif moves:
        focus, k = wanted.find(depths, steady, tilt, tilt_direction, device), wanted.find_k(k)
    else:
        if focus is None and focus_point is None and focus_mask is None:
            focus = flat
        levelled = tilted(near, tilt, tilt_direction)
        focus, k = find_focus(levelled, focus, focus_point, focus_mask, portrait=portrait), find_k(k, portrait)
    shape = {
        "near_scale": near_scale,
        "far_scale": far_scale,
        "focus_range": focus_range,
        "falloff": falloff,
        "tilt": tilt,
        "tilt_direction": tilt_direction,
        "breathing": breathing,
    }
    look = {"aperture": aperture, "highlight_boost": highlight_boost, "grain": grain, "device": device}
    if moves:
        photograph(
            source,
            output,
            depths,
            focus,
            k,
            shape,
            look,
            steadiness=steady,
            grain_seed=grain_seed,
            quality=quality,
            resume=resume,
        )
    else:
        layers = {}
        if matte is not None:
            layers["matte"] = fit(read_matte(matte), size, "--matte")
            alpha = None if matte == photo else alpha
        if background is not None:
            layers["background"] = fit(files.read_photo(background, space)[0], size, "--background")
        result = render(
            rgb,
            near,
            focus,
            k,
            progress=Bar("lens"),
            alpha=alpha,
            color_space=space,
            grain_seed=grain_seed,
            **look,
            **layers,
            **shape,
        )
        files.write_photo(output, result[:, :3], None if alpha is None else result[:, 3:], files.read_origin(photo), space)
        if save_radius is not None:
            files.write_numbers(save_radius, radius_map(near, size, focus, k, **shape))
    if save_iris is not None:
        files.write_photo(save_iris, linear_to_srgb(aperture.drawn())[None])
    click.echo(f"{output}: focus {described(focus, '.4f')}, K {described(k, 'g')}")
