"""No public function cares how its tensors lie in memory, and none writes to them."""

import importlib
import inspect
import pkgutil
import re
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

import magicbokeh_ops
from magicbokeh_ops import (
    aperture,
    by_hand,
    camera,
    clips,
    color,
    defocus,
    exr,
    files,
    focal_plane,
    focus,
    grain,
    lens,
    matting,
    overlay,
    planes,
    touch_up,
    windows,
)
from magicbokeh_ops.aperture import Aperture
from magicbokeh_ops.camera import Camera
from magicbokeh_ops.cli import inputs
from magicbokeh_ops.depth import refine
from magicbokeh_ops.evaluation import benchmark, metrics, upscaler
from magicbokeh_ops.evaluation import depth as depth_scores
from magicbokeh_ops.lens import edges, matte, plate, pyramid
from magicbokeh_ops.model import strips
from magicbokeh_ops.synthesis import dataset
from magicbokeh_ops.training import run
from tests.support.clip_calls import CLIP_CALLS
from tests.support.layouts import check_layouts, photo, plane, random
from tests.support.network_calls import NETWORK_CALLS, ROUNDING


def written(name: str, write: Callable, read: Callable) -> Callable:
    """What a file holds after write(path, *tensors)."""

    def call(*tensors: Tensor):
        with tempfile.TemporaryDirectory() as folder:
            write(Path(folder, name), *tensors)
            return read(Path(folder, name))

    return call


def split_and_sides(alpha: Tensor, color: Tensor) -> tuple[edges.Split, matte.Sides]:
    one = torch.ones_like(alpha)
    return edges.Split(color, alpha, one, color / 2, -one), matte.Sides(color, one, color / 2, one, alpha, alpha < 0.9)


def mixed_by(alpha: Tensor, color: Tensor) -> edges.Split:
    """A split by a matte, of a picture whose two sides are 3 pixels of blur apart."""
    split, sides = split_and_sides(alpha, color)
    one = torch.ones_like(alpha)
    return matte.with_matte(split, sides, (color, color / 2), (2 * one, -one))


def two_pictures(alpha: Tensor, color: Tensor) -> list[dict]:
    split, sides = split_and_sides(alpha, color)
    subject = alpha - 0.5
    return [vars(one) for one in plate.both(plate.in_front(split, sides, subject, -alpha), split, subject, 3)]


def sample(*pictures: Tensor) -> dataset.Sample:
    return dataset.Sample(*pictures, k=torch.ones(2), focus=torch.ones(2))


# What is called with tensors only, and with what. Values are drawn anew where a function asks for a kind of them.
CASES: dict[str, tuple[Callable, list[Tensor]]] = {
    **NETWORK_CALLS,
    **CLIP_CALLS,
    "cli.inputs.find_focus": (lambda disparity: inputs.find_focus(disparity, None, (0.4, 0.6), None), [plane(1)]),
    "clips.is_finite": (clips.is_finite, [photo()]),
    "clips.extremes": (lambda values: clips.extremes(lambda: values), [plane()]),
    "clips.percentiles": (lambda values: clips.percentiles(lambda: values, 0.1, 0.9), [plane()]),
    "clips.lower_median": (lambda values: clips.lower_median(lambda: values), [plane()]),
    "color.srgb_to_linear": (color.srgb_to_linear, [photo()]),
    "color.linear_to_srgb": (color.linear_to_srgb, [photo()]),
    "color.match_mean_and_spread": (color.match_mean_and_spread, [photo(), photo(2, 20, 30)]),
    "color.match_low_frequencies": (color.match_low_frequencies, [photo(), photo().flip(-1)]),
    "defocus.check_disparity": (defocus.check_disparity, [plane()]),
    "defocus.normalize": (
        lambda values: [defocus.normalize(values, method) for method in ("percentile", "minmax", "none")],
        [plane()],
    ),
    "defocus.stretch": (lambda values: defocus.stretch(values, values.amin(), values.amax()), [plane()]),
    "defocus.to_disparity": (
        lambda values: [defocus.to_disparity(values, kind) for kind in defocus.CONVENTIONS.values()],
        [plane()],
    ),
    "defocus.from_distance": (defocus.from_distance, [plane(), random(1, 1, 20, 18)]),
    "defocus.reciprocal": (defocus.reciprocal, [plane(), random(1, 1, 20, 18)]),
    "defocus.from_inverted_depth": (defocus.from_inverted_depth, [plane()]),
    "aperture.splatted": (lambda points: aperture.splatted(points, 3), [4 * random(2, 30, 2) - 2]),
    "focus.choose_focus": (
        lambda disparity, mask: [
            focus.choose_focus(disparity, mode, mask=mask, box=(0.1, 0.2, 0.5, 0.9)) for mode in focus.MODES
        ],
        [plane(), random(1, 1, 60, 54)],
    ),
    "focus.focus_from_mask": (defocus.focus_from_mask, [plane(), random(1, 1, 60, 54)]),
    "focus.focus_from_point": (lambda disparity: defocus.focus_from_point(disparity, 0.3, 0.8), [plane()]),
    "focus.focus_from_box": (lambda disparity: defocus.focus_from_box(disparity, 0.1, 0.2, 0.5, 0.9), [plane()]),
    "focus.focus_on_nearest": (defocus.focus_on_nearest, [plane(2, 300, 40)]),
    "focus.focus_on_three": (
        lambda disparity: focus.focus_on_three(disparity, [(0.2, 0.2), (0.8, 0.3), (0.5, 0.9)]),
        [plane()],
    ),
    "camera.from_disparity": (camera.from_disparity, [plane()]),
    "camera.dioptres_per_unit": (lambda near: camera.dioptres_per_unit(near, 0.7, 0.4, 2.0), [plane(1)]),
    "focal_plane.tilted": (lambda disparity: focal_plane.tilted(disparity, 0.3, 30.0), [plane()]),
    "lens.plate.cut_out": (
        lambda light, alpha: plate.cut_out(light, light / 2, split_and_sides(alpha, light)[1], 3),
        [photo(1)[0], random(1, 40, 36)],
    ),
    "lens.plate.in_front": (two_pictures, [random(1, 40, 36), photo(1)[0]]),
    "lens.plate.both": (two_pictures, [random(1, 40, 36), photo(1)[0]]),
    "planes.magnified": (lambda values: planes.magnified(values, 1.2), [photo(1)]),
    "lens.settings.radius_map": (lambda disparity: lens.radius_map(disparity, (40, 36), 0.4, 9.0, tilt=0.2), [plane(1)]),
    "grain.measure": (lambda image: grain.measure(image).sigma, [photo(1, 150, 140)]),
    "grain.add": (
        lambda image, radius: grain.add(image, grain.measure(image.contiguous()), radius, 1.0, 1),
        [photo(1, 150, 140), 9 * random(1, 1, 150, 140)],
    ),
    "defocus.signed_radius": (lambda disparity: defocus.signed_radius(disparity, [0.2, 0.7], 9.0), [plane()]),
    "defocus.defocus_map": (lambda disparity: defocus.defocus_map(disparity, 0.4, 20.0), [plane()]),
    "defocus.focus_mask": (lambda blur: defocus.focus_mask(blur, 0.5, smooth=2, min_area=0.01), [plane()]),
    "planes.with_every_operation": (planes.with_every_operation, [photo()]),
    "defocus.cut_to_8_bit": (defocus.cut_to_8_bit, [plane()]),
    "focus.released_focus": (defocus.released_focus, [plane(), random(2, 1, 40, 36)]),
    "evaluation.benchmark.check_size": (lambda picture: benchmark.check_size(Path("x.png"), picture, (40, 36)), [photo()]),
    "evaluation.depth.abs_rel_delta1": (
        lambda guess, truth: depth_scores.abs_rel_delta1(guess, 1 / truth, 9.0),
        [plane(), plane()],
    ),
    "evaluation.depth.rmse_delta1": (depth_scores.rmse_delta1, [plane(), random(2, 1, 40, 36)]),
    "evaluation.metrics.luma": (metrics.luma, [photo()]),
    "evaluation.metrics.psnr": (lambda a, b, where: metrics.psnr(a, b, where > 0.3), [photo(1), photo(1).flip(2), plane(1)]),
    "evaluation.metrics.ssim": (metrics.ssim, [photo(1), photo(1).flip(2)]),
    "evaluation.upscaler.restore": (
        lambda image: upscaler.restore(lambda tile: tile.repeat_interleave(2, 2).repeat_interleave(2, 3), image),
        [photo(1, 600, 40)],
    ),
    "exr.write_light": (written("a.exr", exr.write_light, exr.read_light), [photo(1), plane(1)]),
    "files.write_photo": (written("a.png", files.write_photo, files.read_photo), [photo(1), plane(1)]),
    "files.write_numbers": (
        lambda values: [written(name, files.write_numbers, files.read_map)(values) for name in ("a.npy", "a.tif", "a.exr")],
        [plane(1)],
    ),
    "cli.inputs.find_settings": (
        lambda near: inputs.find_settings(Camera(50, 2, 3, (36, 24)), near, (torch.tensor(0.1), torch.tensor(1.0)), (40, 36)),
        [plane(1)],
    ),
    "files.write_map": (
        lambda values: [written(name, files.write_map, files.read_map)(values) for name in ("a.npy", "a.tif")],
        [plane(1)],
    ),
    "lens.edges.split_edges": (
        lambda light, radius: vars(edges.split_edges(2 * light, 8 * radius, True, lambda: None)),
        [random(3, 40, 36), plane(1)[0]],
    ),
    "lens.matte.unmix": (
        lambda light, alpha, near: matte.unmix(light, alpha, near, near / 2),
        [random(3, 9, 8), plane(1)[0, :, :9, :8], random(3, 9, 8)],
    ),
    "lens.matte.with_matte": (lambda alpha, color: vars(mixed_by(alpha, color)), [plane(1)[0, :, :9, :8], random(3, 9, 8)]),
    "lens.pyramid.halve": (pyramid.halve, [random(1, 3, 9, 8)]),
    "lens.pyramid.levels_of": (pyramid.levels_of, [random(1, 3, 9, 8)]),
    "lens.pyramid.pull": (lambda planes: pyramid.pull(pyramid.levels_of(planes)), [random(1, 3, 9, 8)]),
    "defocus.blur_radius": (lambda distance: defocus.blur_radius(distance - 0.4, 9.0, 0.1, 2.0), [plane(1)]),
    "lens.render.render": (lambda image, disparity: lens.render(image, disparity, 0.4, 6.0), [photo(), plane()]),
    "lens.render, all it can do": (
        lambda image, disparity: lens.render(
            image,
            disparity,
            [0.2, 0.6],
            [6.0, 4.0],
            aperture=Aperture(5, squeeze=1.3, cat_eye=0.5),
            highlight_boost=2.0,
            alpha=image[:, :1],
        ),
        [photo(2, 24, 20), plane(1, 30, 25)],
    ),
    "lens.render, matte and plate": (
        lambda image, disparity: lens.render(image, disparity, 0.4, 6.0, matte=disparity, background=image),
        [photo(1, 30, 25), plane(1, 30, 25)],
    ),
    "overlay.focus_overlay": (
        lambda image, disparity: overlay.focus_overlay(image, disparity, 0.4, 9.0, (0.1, 0.2)),
        [photo(), plane()],
    ),
    "planes.check_image": (planes.check_image, [photo()]),
    "planes.check_levels": (lambda image: planes.check_levels(3 * image), [photo()]),
    "planes.check_map": (lambda values: planes.check_map(values, "map"), [plane()]),
    "planes.check_map_shape": (lambda values: planes.check_map_shape(values, "map"), [plane()]),
    "planes.check_not_empty": (lambda values: planes.check_not_empty(values, "map"), [plane()]),
    "planes.check_range": (lambda values: planes.check_range(values, "map"), [plane()]),
    "planes.check_same_shape": (lambda values: planes.check_same_shape(values, (20, 18), "map"), [plane()]),
    "planes.fill_unknown": (lambda values: planes.fill_unknown(values / (values > 0.3), "map"), [plane()]),
    "planes.fit": (lambda values: [planes.fit(values, size, "map") for size in ((20, 18), (80, 72))], [plane()]),
    "planes.match_batch": (lambda values: planes.match_batch(values, 3, "map"), [plane(1)]),
    "planes.resize": (lambda values: [planes.resize(values, size) for size in ((20, 31), (90, 36))], [plane()]),
    "depth.refine.refine_edges": (lambda image, disparity: refine.refine_edges(image, disparity, 2), [photo(), plane()]),
    "by_hand.stand": (
        lambda disparity, masks: [
            by_hand.stand(disparity, {"things": masks}, tilt, split) for tilt, split in ((0.0, False), (10.0, True))
        ],
        [plane(1), plane(2, 60, 54).flip(-1)],
    ),
    "touch_up.touch_up": (
        lambda disparity, mask, image: [
            touch_up.touch_up(disparity, mask, operation, image=image, edge=2) for operation in touch_up.OPERATIONS
        ],
        [plane(), plane(1, 60, 54).flip(-1), photo()],
    ),
    "touch_up.follow_photo": (lambda mask, image: touch_up.follow_photo(mask.round(), image, 3), [plane(1), photo(1)]),
    "matting.from_disparity": (
        lambda image, disparity, mask: [matting.from_disparity(image, disparity, given, reach=1) for given in (None, mask)],
        [photo(), plane(), (plane(1, 60, 54) > 0.3).float()],
    ),
    "windows.box_mean": (lambda values: windows.box_mean(values[0], 3), [photo()]),
    "windows.widen": (lambda values: windows.widen(values, 3), [plane()]),
    "windows.sliding": (
        lambda values: [windows.sliding(values, 7, axis, combine) for axis, combine in ((-1, torch.add), (2, torch.maximum))],
        [plane()],
    ),
    "training.run.write_sheet": (
        written(
            "a.png",
            lambda path, bokeh, sharp, blur: run.write_sheet(path, sample(sharp, sharp, bokeh, blur, blur, blur), bokeh, sharp),
            files.read_photo,
        ),
        [photo(), photo().flip(0), plane()],
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.long if name == "lens.render, all it can do" else ()) for name in CASES]
)
@torch.inference_mode()
def test_values_alone_count(name):
    call, inputs = CASES[name]
    check_layouts(call, inputs, ROUNDING.get(name, 1e-6))


@torch.inference_mode()
def test_a_codec_in_strips(monkeypatch):
    monkeypatch.setattr(strips, "STRIP", 2**10)
    for name in ("model.vae.Vae", *(name for name in CASES if name.startswith("model.strips.") and name in ROUNDING)):
        check_layouts(*CASES[name], ROUNDING[name])


TENSOR = re.compile(r"(torch\.|<class 'torch\.|(collections\.abc\.)?(Iterable|Sequence)\[torch\.)Tensor")
SCALARS = {"training.run.descend"}  # of a single number


def test_every_public_function_is_in_the_table():
    """Of all that says in its signature that it takes tensors: one, several, or none of them."""
    found = set()
    for entry in pkgutil.walk_packages(magicbokeh_ops.__path__, "magicbokeh_ops."):
        if entry.name.endswith("__main__"):
            continue
        for name, function in inspect.getmembers(importlib.import_module(entry.name), inspect.isfunction):
            kinds = [str(parameter.annotation) for parameter in inspect.signature(function).parameters.values()]
            if not name.startswith("_") and function.__module__ == entry.name and any(map(TENSOR.match, kinds)):
                found.add(f"{entry.name.removeprefix('magicbokeh_ops.')}.{name}")
    assert found - SCALARS <= CASES.keys()
