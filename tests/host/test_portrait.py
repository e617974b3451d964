"""Load Portrait Photo where ComfyUI decides what runs."""

import urllib.error

import pytest

from tests.host.conftest import node
from tests.support import portrait_files as files

LEVELS = files.levels((60, 40))


def load(name: str, output: int = 1, model: str | None = None) -> dict:
    kind = ("image", "mask", "mask", "number", "number")[output]
    prompt = {
        "photo": node("MagicBokehPortraitPhoto", image=name, refine=0),
        "probe": node("TestProbe", **{kind: ["photo", output]}),
    }
    if model is not None:
        prompt["model"] = node("MagicBokehDepthLoader", model=model)
        prompt["photo"]["inputs"]["depth_model"] = ["model", 0]
    return prompt


def test_the_demo_photo_and_its_depth(host):
    done = host.run(load("magicbokeh_demo.jpg"))
    assert "Dynamic Depth" in done["outputs"]["photo"]["magicbokeh_info"][0]
    for output, shape in ((0, [1, 512, 512, 3]), (1, [1, 512, 512]), (2, [1, 512, 512])):
        assert host.found(load("magicbokeh_demo.jpg", output))["shape"] == shape


def test_the_model_is_loaded_only_for_photos_without_depth(host):
    """The one that would fail to load shows whether it is."""
    plain = files.encoded(files.photo((60, 40)), "JPEG")
    (host.base / "input" / "plain.jpg").write_bytes(plain)
    (host.base / "input" / "portrait.jpg").write_bytes(files.gdepth(plain, files.encoded(LEVELS)))
    broken = host.base / "models" / "depthanything" / "broken_depth.safetensors"
    broken.write_bytes(b"no weights")
    try:
        assert host.found(load("portrait.jpg", model=broken.name))["shape"] == [1, 40, 60]
        assert "broken_depth.safetensors" in host.error(load("plain.jpg", model=broken.name))
    finally:
        broken.unlink()
    assert host.found(load("plain.jpg", model="DAdepth.pth"))["shape"] == [1, 40, 60]
    assert "plain.jpg brings no depth map; connect a depth model" in host.error(load("plain.jpg"))


def test_a_photo_that_is_gone_and_one_that_is_damaged(host):
    (host.base / "input" / "damaged.jpg").write_bytes(files.gdepth(files.encoded(files.photo(), "JPEG"), b"nothing"))
    assert "damaged.jpg" in host.error(load("damaged.jpg"))
    with pytest.raises(urllib.error.HTTPError) as refused:
        host.queue(load("gone.jpg"))
    assert "gone.jpg is not in ComfyUI's input folder" in refused.value.read().decode()
