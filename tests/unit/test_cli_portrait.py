"""Portrait photos on the command line."""

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from PIL import Image

from magicbokeh_ops import lens
from magicbokeh_ops.cli import main
from magicbokeh_ops.files import read_map, read_photo
from magicbokeh_ops.focus import choose_focus
from magicbokeh_ops.portrait import read_portrait
from tests.support import portrait_files as files

LEVELS = files.levels((60, 40))


@pytest.fixture
def portrait(tmp_path):
    picture = files.encoded(files.photo((120, 80)), "JPEG", exif=files.exif(6))
    table = files.focal_table([(1, 10), (2, 0), (4, 5)])
    item = files.Item("android/depthmap", files.encoded(LEVELS))
    depth = {"Format": "RangeInverse", "Near": 1, "Far": 4, "DepthURI": item.uri}
    (tmp_path / "portrait.jpg").write_bytes(files.dynamic_depth(picture, [item], depth))
    (tmp_path / "with focus.jpg").write_bytes(files.dynamic_depth(picture, [item], {**depth, **table}))
    (tmp_path / "plain.jpg").write_bytes(picture)
    return tmp_path


def call(*arguments, code: int = 0) -> str:
    result = CliRunner().invoke(main, [str(argument) for argument in arguments])
    assert result.exit_code == code, result.output
    return result.output


def test_a_portrait_photo_needs_nothing_else(portrait):
    """In focus is the nearest subject, or what the phone had in focus with the blur it had; options come first."""
    found = read_portrait(portrait / "portrait.jpg")
    nearest = choose_focus(found.disparity, "nearest subject")
    for name, options, focus, k in (
        ("portrait.jpg", (), nearest, 24),
        ("with focus.jpg", (), 1 / 3, 15),
        ("with focus.jpg", ("--focus", 0.5, "--k", 24), 0.5, 24),
    ):
        said = call("lens", portrait / name, *options, "-o", portrait / "out.npy")
        assert f"focus {focus:.4f}, K {k:g}" in said
        expected = lens.render(found.image, found.disparity, focus, k)
        torch.testing.assert_close(read_photo(portrait / "out.npy")[0], expected, atol=1e-4, rtol=0)


def test_the_result_is_upright_and_says_so(portrait):
    call("lens", portrait / "portrait.jpg", "-o", portrait / "out.jpg")
    with Image.open(portrait / "out.jpg") as result:
        assert result.size == (80, 120) and result.getexif().get(274, 1) == 1


def test_a_photo_without_depth_says_what_to_give(portrait):
    for command, options, wanted in (
        ("lens", (), "--disparity"),
        ("render", ("--model", "nano"), "--disparity or --depth-model"),
        ("depth", (), "--model"),
    ):
        said = call(command, portrait / "plain.jpg", *options, "-o", portrait / "out.png", code=2)
        assert "plain.jpg brings no depth map; give one with" in said and wanted in said


def test_the_depth_map_of_a_phone_can_be_extracted(portrait):
    call("depth", portrait / "portrait.jpg", "-o", portrait / "depth.png")
    depth = read_map(portrait / "depth.png")
    assert depth.shape == (1, 1, 120, 80)
    rotated = np.rot90(1 - LEVELS / 255, -1)
    assert abs(depth[0, 0, 1::2, 1::2].numpy() - rotated).max() < 0.03  # enlarged between them


@pytest.mark.slow
def test_the_model_takes_it_too(portrait):
    said = call("render", portrait / "with focus.jpg", "--model", "nano", "-o", portrait / "out.png")
    assert "focus 0.3333, K 15" in said
    assert read_photo(portrait / "out.png")[0].shape == (1, 3, 120, 80)
