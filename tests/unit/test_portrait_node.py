"""Load Portrait Photo on a stand-in for ComfyUI."""

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from magicbokeh_ops.demo import ASSETS, DRAWN, demo_photo
from magicbokeh_ops.portrait import read_portrait
from tests.support import portrait_files as files
from tests.support import stand_in_host as host

Node = host.nodes.PortraitPhoto
INPUT = Path(host.folder_paths.get_input_directory())
LEVELS = files.levels()
DEPTH_MODEL = host.ROOT / "tests/parity/golden/depth/DAdepth_tiny.pth"


def put(name: str, content: bytes) -> str:
    (INPUT / name).write_bytes(content)
    return name


def plain() -> bytes:
    return files.encoded(files.photo(), "JPEG")


def test_the_demo_photo_is_there_and_is_the_first_choice():
    assert host.defaults(Node)["image"] == "magicbokeh_demo.jpg" in Node.define_schema().inputs[0].options
    image, disparity, matte, focus, k, info = host.run(Node)
    photo, near = demo_photo()
    assert torch.equal(image, photo.movedim(1, -1))
    stretched = (near[:, 0] - near.min()) / (near.max() - near.min())
    torch.testing.assert_close(disparity, stretched, atol=1e-6, rtol=0)
    assert matte.shape == disparity.shape and not matte.any()
    assert "Dynamic Depth" in info
    assert focus == pytest.approx(host.ops.focus.choose_focus(disparity[:, None], "nearest subject")) and k == 24


def test_lists_pictures_and_heic_and_nothing_else():
    for name in ("a.heic", "b.HEIF", "c.png", "notes.txt", "clip.mp4"):
        put(name, b"")
    options = Node.define_schema().inputs[0].options
    assert {"a.heic", "b.HEIF", "c.png"} <= set(options) and not {"notes.txt", "clip.mp4"} & set(options)


def test_what_a_phone_stores():
    pictures = [
        (LEVELS, files.apple_packet("disparity", 0.3, 2.1)),
        (255 - LEVELS, files.apple_packet(files.MATTE_TYPE)),
    ]
    picture = files.encoded(files.photo(), "JPEG", exif=files.exif(6))
    image, disparity, matte, *_ = host.run(Node, image=put("turned.jpg", files.apple_jpeg(picture, pictures)))
    assert image.shape == (1, 60, 40, 3) and disparity.shape == matte.shape == (1, 60, 40)
    assert disparity[0, 0].mean() < disparity[0, -1].mean()  # its left is the picture's top
    assert (disparity + matte - 1).abs().max() < 0.02
    table = files.focal_table([(1, 10), (2, 0), (4, 5)])
    item = files.Item("android/depthmap", files.encoded(LEVELS))
    depth = {"Format": "RangeInverse", "Near": 1, "Far": 4, "DepthURI": item.uri, **table}
    *_, focus, k, info = host.run(Node, image=put("table.jpg", files.dynamic_depth(plain(), [item], depth)))
    assert focus == pytest.approx(1 / 3) and k == pytest.approx(15) and "focus 0.333, k 15.0" in info


def test_the_depth_model_is_asked_only_where_the_file_has_no_depth():
    put("plain.jpg", plain())
    put("deep.jpg", files.gdepth(plain(), files.encoded(LEVELS)))
    assert Node.check_lazy_status("plain.jpg", depth_model=None, refine=0) == ["depth_model"]
    assert Node.check_lazy_status("plain.jpg", depth_model=object(), refine=0) == []
    assert Node.check_lazy_status("plain.jpg", refine=0) == []  # none is connected
    assert Node.check_lazy_status("deep.jpg", depth_model=None, refine=0) == []
    put("plain.jpg", files.gdepth(plain(), files.encoded(LEVELS)) + b" ")  # the file is replaced
    assert Node.check_lazy_status("plain.jpg", depth_model=None, refine=0) == []


def test_a_photo_without_depth():
    name = put("no depth.jpg", plain())
    with pytest.raises(ValueError, match="no depth.jpg brings no depth map; connect a depth model to depth_model"):
        host.run(Node, image=name)
    image, found, *_ = host.run(Node, image=name, depth_model=host.nodes.depth_model.load_depth_model(DEPTH_MODEL))
    assert image.shape == (1, 40, 60, 3) and found.shape == (1, 40, 60) and found.min() == 0 and found.max() == 1


def test_refine_moves_the_edges():
    edge = np.full((40, 60, 3), 40, np.uint8)
    edge[:, 30:] = 220
    soft = np.clip(np.linspace(-2, 3, 60), 0, 1)[None].repeat(40, 0)
    name = put("soft.jpg", files.gdepth(files.encoded(edge, "JPEG"), files.encoded((255 * soft).astype(np.uint8))))
    before, after = (host.run(Node, image=name, refine=n)[1] for n in (0, 8))
    assert (after - after.round()).abs().mean() < 0.5 * (before - before.round()).abs().mean()


def test_names_what_is_wrong():
    assert "gone.jpg is not in ComfyUI's input folder" in Node.validate_inputs(image="gone.jpg")
    assert Node.validate_inputs(image="magicbokeh_demo.jpg") is True
    name = put("damaged.jpg", files.gdepth(plain(), b"no picture"))
    with pytest.raises(ValueError, match="image: damaged.jpg"):
        host.run(Node, image=name)


def test_grey_photos_of_16_bits():
    grey = np.linspace(0, 65535, 2400).reshape(40, 60).astype(np.uint16)
    model = host.nodes.depth_model.load_depth_model(DEPTH_MODEL)
    image = host.run(Node, image=put("grey.png", files.encoded(grey)), depth_model=model)[0]
    assert abs(image[0].numpy() - grey[..., None] / 65535).max() < 1e-5


def test_a_map_of_another_shape_is_refused():
    wide = files.encoded(files.levels((90, 20)))
    name = put("cropped.jpg", files.gdepth(plain(), wide))
    with pytest.raises(ValueError, match="image: the depth map of cropped.jpg is 90 x 20"):
        host.run(Node, image=name)


def test_a_file_that_changes_runs_again():
    name = put("changing.png", files.encoded(files.photo()))
    before = Node.fingerprint_inputs(name, refine=0, depth_model=None)
    os.utime(INPUT / name, ns=(1, 1))
    assert before != Node.fingerprint_inputs(name, refine=0, depth_model=None)


def test_the_demo_photo_is_not_written_again(monkeypatch, tmp_path, caplog):
    path = INPUT / "magicbokeh_demo.jpg"
    time = path.stat().st_mtime_ns
    host.nodes.folders.put_demo_photos()
    assert path.stat().st_mtime_ns == time
    assert read_portrait(path).disparity is not None and Image.open(path).size == (512, 512)
    (tmp_path / "input").write_bytes(b"")  # where the folder would be
    monkeypatch.setattr(host.folder_paths, "get_input_directory", lambda: str(tmp_path / "input"))
    host.nodes.folders.put_demo_photos()
    assert "no demo photos" in caplog.text


def test_the_drawn_photos_are_there():
    for name in DRAWN:
        assert (INPUT / f"magicbokeh_{name}").read_bytes() == (ASSETS / name).read_bytes()
    for name in ("lamps", "toys"):
        disparity = read_portrait(INPUT / f"magicbokeh_{name}.jpg").disparity
        assert disparity.min() == 0 and disparity.max() == 1
