"""No node cares how its pictures and masks lie in memory, and none writes to them."""

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

from tests.support import stand_in_host as host
from tests.support.layouts import check_layouts, photo, plane
from tests.support.small_models import nano_like

nodes = host.nodes
torch.manual_seed(0)
WEIGHTS = nano_like()
MODEL, VAE = nodes.bokeh_model.load_model(WEIGHTS), nodes.bokeh_model.load_vae(WEIGHTS.vae)
DEPTH_MODEL = nodes.depth.load_depth_model(Path(__file__).parents[1] / "parity" / "golden" / "depth" / "DAdepth_tiny.pth")


def rgba(*size: int) -> Tensor:
    planes = photo(*size)
    return torch.cat([planes, 1 - planes[:, :1]], 1)


def run(node: type, **inputs) -> tuple:
    """With planes (B, C, H, W), whose axes the layouts are made for, as IMAGE or MASK."""
    sockets = {name: value for name, value in inputs.items() if isinstance(value, Tensor)}
    moved = {name: value[:, 0] if value.shape[1] == 1 else value.movedim(1, -1) for name, value in sockets.items()}
    return host.run(node, **{**inputs, **moved})


def defocus_map(**widgets) -> Callable:
    return lambda disparity, picture, focus_mask: run(
        nodes.DefocusMap, disparity=disparity, image=picture, focus_mask=focus_mask, **widgets
    )


def masked(focus_mask: Tensor):
    return run(nodes.MaskedAttention, model=MODEL, focus_mask=focus_mask)[0]


def sampler(**widgets) -> Callable:
    return lambda picture, defocus, focus_mask: run(
        nodes.Sampler, model=masked(focus_mask), vae=VAE, image=picture, defocus=defocus / 32, **widgets
    )


BOX = {"x": 3, "y": 5, "width": 9, "height": 20}
CASES: dict[str, tuple[Callable, list[Tensor]]] = {
    "MagicBokehDisparity": (
        lambda picture: run(nodes.FindDisparity, depth_model=DEPTH_MODEL, image=picture, input_size=140, refine=2),
        [photo()],
    ),
    "MagicBokehDisparityFrom": (
        lambda depth: run(nodes.DisparityFrom, depth=depth.expand(-1, 3, -1, -1), convention="depth (near = black)"),
        [plane()],
    ),
    "MagicBokehDisparityFrom, mask and photo": (
        lambda depth, picture: run(nodes.DisparityFrom, depth=depth, image=picture, refine=2),
        [plane(), photo()],
    ),
    "MagicBokehSteadyDisparity": (
        lambda disparity, picture: run(nodes.SteadyDisparity, disparity=disparity, image=picture, strength=1.0),
        [plane(3), photo(3)],
    ),
    "MagicBokehDisparityTouchUp": (
        lambda disparity, mask, picture: run(
            nodes.DisparityTouchUp,
            disparity=disparity,
            mask=mask,
            image=picture,
            operation="in front of its surroundings",
            edge=2,
        ),
        [plane(), plane(1, 60, 54).flip(-1), photo()],
    ),
    "MagicBokehDisparityByHand": (
        lambda picture, things: run(nodes.DisparityByHand, image=picture, things=things, left_wall=0.3, split_things=True),
        [rgba(), plane()],
    ),
    "MagicBokehCamera": (
        lambda depth, picture: run(nodes.Camera, depth=1 + depth.expand(-1, 3, -1, -1), image=picture)[:3],
        [plane(), photo()],
    ),
    "MagicBokehDefocusMap": (defocus_map(), [plane(), photo(), plane()]),
    "MagicBokehDefocusMap, mask": (defocus_map(focus_mode="mask"), [plane(), photo(), plane(1, 60, 54)]),
    "MagicBokehDefocusMap, box": (defocus_map(focus_mode="box", focus_box=BOX), [plane(), photo(), plane()]),
    "MagicBokehDefocusMap, subject": (defocus_map(focus_mode="nearest subject"), [plane(1, 20, 18), photo(), plane()]),
    "MagicBokehFocusTrack": (
        lambda disparity, picture: run(nodes.FocusTrack, disparity=disparity, image=picture, keys="1: k 9")[:3],
        [plane(3), photo(3)],
    ),
    "MagicBokehFocusTrack, mask": (
        lambda disparity, mask: run(nodes.FocusTrack, disparity=disparity, subject_mask=mask, follow="mask")[:3],
        [plane(3), plane(3)],
    ),
    "MagicBokehFocusMask": (
        lambda defocus: run(nodes.FocusMask, defocus=defocus, threshold=0.5, smooth=1, min_area=0.02),
        [plane()],
    ),
    "MagicBokehMatteFromDisparity": (
        lambda picture, disparity, mask: run(
            nodes.MatteFromDisparity, image=picture, disparity=disparity, mask=(mask > 0.3).float(), reach=1
        ),
        [photo(), plane(), plane(1, 60, 54)],
    ),
    "MagicBokehLensBlur": (
        lambda picture, disparity: run(nodes.LensBlur, image=picture, disparity=disparity, k=20.0, highlight_boost=1.0),
        [rgba(), plane()],
    ),
    "MagicBokehSweep": (
        lambda picture, disparity: run(nodes.Sweep, image=picture, disparity=disparity, frames=2, k_from=2.0, k_to=20.0),
        [photo(1), plane(1)],
    ),
    "MagicBokehSampler": (sampler(), [photo(1, 66, 70), plane(1, 33, 35), plane(1, 44, 47)]),
    "MagicBokehSampler, reference": (
        sampler(preset="reference", color_fix="wavelet", upscale=1.25),
        [rgba(1, 66, 70), plane(1, 66, 70), plane(1, 33, 35)],
    ),
    "MagicBokehMaskedAttention": (lambda focus_mask: masked(focus_mask).focus_mask, [plane()]),
}
WITHOUT = {
    "MagicBokehDemoPhoto",
    "MagicBokehPortraitPhoto",
    "MagicBokehDepthLoader",
    "MagicBokehLoader",
    "MagicBokehSaveCheckpoint",
}  # no picture goes in


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.long if name.startswith("MagicBokehSampler") else ()) for name in CASES]
)
def test_values_alone_count(name):
    call, inputs = CASES[name]
    check_layouts(call, inputs, 1e-4 if "Sampler" in name else 1e-5)


def test_every_node_is_in_the_table():
    found = {node.define_schema().node_id for node in asyncio.run(nodes.MagicBokehExtension().get_node_list())}
    assert found - WITHOUT == {name.split(",")[0] for name in CASES}
