"""Nodes run on the stand-in as they do in ComfyUI."""

import asyncio

import torch

from tests.support import stand_in_host as host


def test_nodes_follow_one_another():
    image, disparity, _ = host.run(host.nodes.DemoPhoto)
    image, disparity = image[:, 100:300, 80:240], disparity[:, 100:300, 80:240]
    done = host.execute(host.nodes.DefocusMap, disparity=disparity, image=image, k=16.0)
    defocus, focus, overlay, k, focus_range, falloff, tilt, tilt_direction = done.args
    assert defocus.shape == disparity.shape and overlay.shape == image.shape and "magicbokeh_photo" in done.ui
    assert (k, focus_range, falloff, tilt, tilt_direction) == (16.0, 0.0, 1.0, 0.0, 0.0)
    blurred = host.run(host.nodes.LensBlur, image=image, disparity=disparity, focus=focus, k=k)[0]
    moved = (blurred - image).abs().amax(-1)
    assert moved[defocus > 0.1].mean() > 2 * moved[defocus < 0.01].mean()


def test_every_node_has_widgets_to_start_with():
    for node in asyncio.run(host.nodes.MagicBokehExtension().get_node_list()):
        names = {one.id for one in node.define_schema().inputs}
        assert host.defaults(node).keys() <= names


def test_the_host_can_be_changed_for_a_test(monkeypatch):
    image = torch.rand(1, 8, 8, 3)
    monkeypatch.setattr(host.model_management, "intermediate_dtype", lambda: torch.float16)
    assert host.run(host.nodes.LensBlur, image=image, disparity=image[..., 0], k=1.0)[0].dtype == torch.float16
