"""Any upscaler, then the lens: a baseline of `magicbokeh evaluate`."""

import csv
import sys

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from click.testing import CliRunner

from magicbokeh_ops import files, lens
from magicbokeh_ops.cli import main
from magicbokeh_ops.evaluation import upscaler
from tests.support.small_models import esrgan


def random_photo(height, width):
    values = torch.rand(1, 3, height, width, generator=torch.Generator().manual_seed(0))
    return (values * 255).round() / 255


@pytest.fixture
def scenes(tmp_path):
    folder = tmp_path / "set"
    for kind in ("input", "gt", "mask", "disparity"):
        (folder / kind).mkdir(parents=True)
    mask = torch.zeros(1, 3, 40, 60)
    mask[..., :30] = 1
    for kind, content in (("input", random_photo(40, 60)), ("gt", random_photo(40, 60)), ("mask", mask)):
        files.write_photo(folder / kind / "a.png", content)
    np.save(folder / "disparity" / "a.npy", np.linspace(0.1, 0.9, 60, dtype=np.float32)[None].repeat(40, 0))
    return folder


def evaluate(scenes, file, *more, code=0, output="out"):
    arguments = ("evaluate", scenes, "--k", 6, "--methods", f"input,lens,upscale:{file}+lens", "--device", "cpu", *more)
    result = CliRunner().invoke(main, [*map(str, arguments), "-o", str(scenes.parent / output)])
    assert result.exit_code == code, result.output
    return " ".join(result.output.split())


def test_each_pixel_is_the_mean_of_what_it_became():
    photo, large = random_photo(10, 14), random_photo(40, 56)
    expected = large.view(1, 3, 10, 4, 14, 4).mean((3, 5))
    torch.testing.assert_close(upscaler.restore(lambda _tile: large, photo), expected)


def test_tiles_leave_no_seam(monkeypatch):
    """They cover the photo and their weights add up to 1: what sees single pixels gives the same in tiles."""
    monkeypatch.setattr(upscaler, "TILE", 16)
    monkeypatch.setattr(upscaler, "OVERLAP", 4)
    photo, seen = random_photo(37, 50), []

    def upscale(tile):
        seen.append(tile.shape[-2:])
        return F.interpolate(tile * 0.5, scale_factor=2)

    torch.testing.assert_close(upscaler.restore(upscale, photo), photo * 0.5)
    assert len(seen) == 3 * 4 and all(height <= 16 and width <= 16 for height, width in seen)


def test_an_esrgan_then_the_lens(scenes, tmp_path):
    spandrel = pytest.importorskip("spandrel", exc_type=ImportError)
    torch.save(esrgan(), tmp_path / "4x_random.pth")
    text = evaluate(scenes, tmp_path / "4x_random.pth")
    assert "| 4x_random.pth, then lens |" in text
    with (tmp_path / "out" / "table.csv").open(encoding="utf-8", newline="") as file:
        assert [row["method"] for row in csv.DictReader(file)] == ["input", "lens", "4x_random.pth, then lens"]

    model = spandrel.ModelLoader().load_from_file(tmp_path / "4x_random.pth")
    assert model.architecture.id == "ESRGAN" and model.scale == 4
    with torch.inference_mode():
        large = model.eval()(random_photo(40, 60))
    restored = large.view(1, 3, 40, 4, 60, 4).mean((3, 5)).clamp(0, 1)
    assert restored.std() > 0.05
    disparity = files.read_map(scenes / "disparity" / "a.npy")
    expected = lens.render(restored, disparity, float(disparity[..., :30].median()), 6)
    found = files.read_photo(tmp_path / "out" / "pictures" / "4x_random.pth, then lens" / "a.png")[0]
    assert (found - expected).abs().max() <= 0.51 / 255

    evaluate(scenes, tmp_path / "4x_random.pth", "--workers", 1, output="by_workers")
    again = files.read_photo(tmp_path / "by_workers" / "pictures" / "4x_random.pth, then lens" / "a.png")[0]
    assert torch.equal(again, found)


@pytest.mark.parametrize("name", ["other.pth", "text.pth", "picture.xyz"])
def test_a_file_that_is_no_upscaler(scenes, tmp_path, name):
    pytest.importorskip("spandrel", exc_type=ImportError)
    if name == "text.pth":
        (tmp_path / name).write_text("no weights", encoding="utf-8")
    else:
        torch.save({"layer.weight": torch.zeros(2, 2)}, tmp_path / name)
    assert f"{name} is no upscaler that spandrel knows" in evaluate(scenes, tmp_path / name, code=1)
    assert not (tmp_path / "out").exists()


def test_an_upscaler_of_grey_pictures_is_refused(scenes, tmp_path):
    pytest.importorskip("spandrel", exc_type=ImportError)
    grey = esrgan()
    grey["conv_first.weight"] = grey["conv_first.weight"][:, :1]
    grey["conv_last.weight"], grey["conv_last.bias"] = grey["conv_last.weight"][:1], grey["conv_last.bias"][:1]
    torch.save(grey, tmp_path / "grey.pth")
    assert "give an upscaler from RGB to RGB" in evaluate(scenes, tmp_path / "grey.pth", code=1)


def test_two_files_of_one_name_are_refused(scenes, tmp_path):
    for folder in ("first", "second"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "net.pth").touch()
    methods = f"{tmp_path / 'first' / 'net.pth'}+lens,upscale:{tmp_path / 'second' / 'net.pth'}"
    assert "The name net.pth, then lens is given twice" in evaluate(scenes, methods, code=2)


def test_without_spandrel_it_says_what_to_install(scenes, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "spandrel", None)
    (tmp_path / "net.pth").touch()
    assert "An upscaler needs spandrel" in evaluate(scenes, tmp_path / "net.pth", code=1)
    assert "pip install 'magicbokeh[upscale]'" in evaluate(scenes, tmp_path / "net.pth", code=1)
