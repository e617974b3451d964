"""Options that several commands share."""

import re
from fractions import Fraction
from pathlib import Path

import click

from .. import camera, defocus
from ..lenses import IDEAL, LENSES
from ..video.sequences import is_pattern

EXISTING = click.Path(exists=True, dir_okay=False, path_type=Path)
EXISTING_FOLDER_TOO = click.Path(exists=True, path_type=Path)
FOLDER = click.Path(exists=True, file_okay=False, path_type=Path)
OUTPUT = click.Path(dir_okay=False, path_type=Path)
NEW_FOLDER = click.Path(file_okay=False, path_type=Path)


def frame_rate(value: str) -> Fraction:
    """Frames per second as a number or a ratio like 30000/1001."""
    rate = Fraction(value)
    if rate <= 0:
        raise ValueError(f"{value} is no rate.")
    return rate


class Pictures(click.Path):
    """A file, a folder of pictures, or the pattern of their names, such as frames/%04d.png."""

    def convert(self, value, param, ctx):
        return Path(value) if is_pattern(Path(value)) else super().convert(value, param, ctx)


PHOTO_OR_CLIP = Pictures(exists=True, path_type=Path)
OUTPUT_OR_FOLDER = click.Path(path_type=Path)


def point(_ctx, _param, value: str | None) -> tuple[float, float] | None:
    if value is None:
        return None
    try:
        x, y = (float(part) for part in value.split(","))
    except ValueError:
        raise click.BadParameter(f"{value!r} is not two numbers like 0.5,0.6.") from None
    return x, y


def sensor(_ctx, _param, value: str | None) -> tuple[float, float] | None:
    if value is None:
        return None
    known = {name.lower(): sides for name, sides in camera.SENSORS.items()}
    if value.lower() in known:
        return known[value.lower()]
    sides = re.fullmatch(r"(\d+\.?\d*) *x *(\d+\.?\d*)", value.lower())
    if sides is None:
        raise click.BadParameter(f"{value!r} is not WIDTHxHEIGHT in mm like 36x24, and none of: {', '.join(camera.SENSORS)}.")
    return float(sides[1]), float(sides[2])


def point_inside(ctx, param, value: str | None) -> tuple[float, float] | None:
    place = point(ctx, param, value)
    if place is not None and not all(0 <= part <= 1 for part in place):
        raise click.BadParameter(f"{value!r} is not in the picture; both numbers go from 0 to 1.")
    return place


def named_paths(_ctx, _param, values: tuple[str, ...]) -> dict[str, Path]:
    pairs = {}
    for value in values:
        name, _, path = value.partition("=")
        if not re.fullmatch(r"[\w .+-]*\w", name) or not Path(path).exists():
            raise click.BadParameter(f"{value!r} is not NAME=PATH of something that exists.")
        pairs[name] = Path(path)
    return pairs


def options(*some):
    """Several options as one decorator, in the order in which help lists them."""

    def decorate(command):
        for option in reversed(some):
            command = option(command)
        return command

    return decorate


DEPTH_MAP = "Depth map, white = nearest unless --convention says otherwise: picture, EXR, PFM, TIFF, .npy or .npz, of the photo's shape."
k_option = click.option(
    "--k", type=click.FloatRange(0), default=24, show_default=True, help="Blur radius in pixels from nearest to farthest."
)


def scene_options(masks, of_a_clip=""):
    """Options of the scene and its focus. masks: the type of masks. of_a_clip: what help says of those of a clip."""
    return options(
        click.option("--focus", type=click.FloatRange(0, 1), help="Disparity in focus."),
        click.option("--focus-point", callback=point, metavar="X,Y", help="Focus on what lies here, 0..1 from left and top."),
        click.option("--focus-mask", type=masks, help=f"Focus on the median disparity under this mask.{of_a_clip}"),
        k_option,
        click.option(
            "--focus-range", type=click.FloatRange(0), default=0, help="Depth around the focus that stays sharp, in disparity."
        ),
        click.option(
            "--falloff",
            type=click.FloatRange(0, min_open=True),
            default=1,
            help="Power with which the blur grows from there; 1 as in a lens.",
        ),
        click.option("--tilt", type=float, default=0, help="Disparity by which the plane of focus rises over the longer side."),
        click.option("--tilt-direction", type=float, default=0, help="Where it rises to, in degrees: 0 = down, 90 = right."),
        click.option(
            "--convention",
            type=click.Choice(list(defocus.CONVENTIONS.values())),
            default="disparity",
            show_default=True,
            help="What the map's values mean.",
        ),
        click.option("--layer", help="Layer or channel of an EXR map that has several."),
    )


FOLLOWING = ("track", "track_frame", "keys", "smoothing", "max_speed", "save_plot")
following_options = options(
    click.option(
        "--track",
        callback=point_inside,
        metavar="X,Y",
        help="Focus of a clip that follows what lies here, 0..1 from left and top.",
    ),
    click.option(
        "--track-frame", type=click.IntRange(0), default=0, show_default=True, help="The frame in which it lies there."
    ),
    click.option(
        "--keys", help="Focus and k by frames, or a file with them, such as '0: 0.82, 24: 0.31 ease, 48: (0.4,0.5) k 12'."
    ),
    click.option(
        "--smoothing",
        type=click.FloatRange(0, 120),
        default=6,
        show_default=True,
        help="Frames over which a focus that follows is smoothed, as many ahead as back.",
    ),
    click.option(
        "--max-speed",
        type=click.FloatRange(0, 1),
        default=0.04,
        show_default=True,
        help="Its largest change from one frame to the next, in disparity; 0 = any.",
    ),
    click.option("--save-plot", type=OUTPUT, help="Picture of the focus over the frames."),
)
CAMERA = ("focal_length", "f_number", "focus_distance", "sensor")
camera_options = options(
    click.option(
        "--focal-length", type=float, help="In mm. With this and the next two, focus and k follow from distances in metres."
    ),
    click.option("--f-number", type=float, help="Aperture in f-stops."),
    click.option("--focus-distance", type=float, help="Metres to what is in focus; 0 is infinity."),
    click.option(
        "--sensor",
        callback=sensor,
        help=f"Sides in mm like 36x24, or one of: {', '.join(camera.SENSORS)}. [default: full frame]",
    ),
)
look_options = options(
    click.option(
        "--lens",
        type=click.Choice(list(LENSES)),
        default=IDEAL,
        show_default=True,
        help="Named lens; the options below count instead of its own.",
    ),
    click.option("--blades", type=int, default=0, help="Blades of the iris; 0 = round."),
    click.option("--rotation", type=float, default=0, help="Turn of the iris in degrees."),
    click.option("--roundness", type=float, default=0, help="0 = straight blades, 1 = circle."),
    click.option("--star", type=float, default=0, help="How far the middles of the blades are pulled in, 0..0.95."),
    click.option("--squeeze", type=float, default=1, help="Height of the discs over their width; below 1 they lie."),
    click.option("--ring", type=float, default=0, help="Rings instead of discs: inner radius, 0..0.95."),
    click.option("--spherical", type=float, default=0, help="1 = soap bubbles behind the focus, -1 = creamy."),
    click.option("--cat-eye", type=float, default=0, help="Cut of the discs in the corners, 0..1."),
    click.option("--swirl", type=float, default=0, help="Press of the discs in the corners, 0..1."),
    click.option("--fringing", type=float, default=0, help="Coloured rims, 0..0.5."),
    click.option("--iris", type=EXISTING, help="Picture of the opening, white on black, instead of blades."),
)
depth_model_option = click.option(
    "--depth-model",
    type=EXISTING_FOLDER_TOO,
    help="Or the model that finds it, as for `magicbokeh depth`. Portrait photos of phones need neither.",
)
input_size_option = click.option(
    "--input-size",
    type=click.IntRange(14, 4096),
    default=518,  # depth.INPUT_SIZE, whose place needs packages that the lens does not
    show_default=True,
    help="Shorter side that the depth model sees; more shows finer detail and takes more memory.",
)
depth_options = options(
    input_size_option,
    click.option(
        "--refine",
        type=click.IntRange(0, 64),
        default=0,
        show_default=True,
        help="Move soft edges to where the photo has them: half their width in pixels of the photo. 0: off.",
    ),
)
NORMALIZE = click.Choice(["none", "minmax", "percentile"])
device_option = click.option("--device", help="cpu, cuda, mps ...; the GPU if there is one.")
output_option = click.option("--output", "-o", type=OUTPUT, required=True, help="Picture, or .npy for exact floats.")


def many_options(what: str, alone: str = ""):
    """Options of commands that have much to do. what: of which --workers are. alone: what help says of it besides."""
    return options(
        click.option("--workers", type=click.IntRange(1), metavar="N", help=f"{what}, N at a time.{alone}"),
        click.option("--ray", metavar="ADDRESS", help="The same on a Ray cluster, such as auto, with --workers as its limit."),
    )
