import csv
import json
import math
import sys
from types import ModuleType

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from PIL import Image

from magicbokeh_ops import evaluation, files, lens
from magicbokeh_ops.cli import main
from magicbokeh_ops.evaluation.depth import abs_rel_delta1, rmse_delta1
from magicbokeh_ops.evaluation.learned import PACKAGES
from magicbokeh_ops.evaluation.metrics import luma, psnr, ssim


def row(*values):
    return torch.tensor(values, dtype=torch.float32).view(1, 1, 1, -1)


def test_an_affine_transform_of_the_truth_is_perfect():
    truth = torch.rand(2, 1, 7, 9, generator=torch.Generator().manual_seed(0)) * 0.9 + 0.1
    guess = truth * torch.tensor([3.0, 0.2]).view(2, 1, 1, 1) + 5
    assert abs_rel_delta1(guess, 1 / truth, 10.5) == pytest.approx((0, 1), abs=1e-4)
    relative = (truth - truth.amin()) / (truth.amax() - truth.amin())
    assert rmse_delta1(guess, relative) == pytest.approx((0, 1), abs=1e-5)


def test_pixels_without_distance_do_not_count():
    distance, guess = row(1, 2, 4, 0, math.inf, math.nan, -3, 200), row(1, 0.5, 0.25, 9, 9, 9, 9, 9)
    assert abs_rel_delta1(guess, distance, 80) == pytest.approx((0, 1))
    assert rmse_delta1(guess, row(1, 0.5, 0.25, *[math.nan] * 5)) == pytest.approx((0, 1))


def test_the_fit_is_made_to_inverse_distance_then_clamped_then_inverted():
    """By hand: scale 9/38, shift -17/190; the last aligned disparity is negative, so it becomes 1/10, a distance of 10."""
    abs_rel, delta1 = abs_rel_delta1(row(3, 2, 2, 0), row(1, 10, 10, 10), 10)
    assert abs_rel == pytest.approx((36 / 59 + 108 / 73) / 4)
    assert delta1 == 0.25


def test_relative_disparity_by_hand():
    """Aligned: 3/4, 3/4, 1/4, 1/4, all off by 1/4; 3/4 is within 1.25 of neither truth, nor is 1/4, and the truth 0 is left out."""
    rmse, delta1 = rmse_delta1(row(1, 1, 0, 0), row(1, 0.5, 0.5, 0))
    assert rmse == pytest.approx(0.25) and delta1 == 0
    assert rmse_delta1(row(1, 1, 0, 0), row(0.8, 0.7, 0.2, 0))[1] == pytest.approx(2 / 3)


def test_the_mean_is_over_pictures_not_over_pixels():
    guess, distance = torch.cat([row(3, 2, 2, 0), row(3, 2, 2, 0)]), torch.cat([row(1, 10, 10, 10), row(1, 10, 0, 0)])
    single = [abs_rel_delta1(guess[i : i + 1], distance[i : i + 1], 10) for i in (0, 1)]
    assert abs_rel_delta1(guess, distance, 10) == pytest.approx([sum(pair) / 2 for pair in zip(*single)])


@pytest.mark.parametrize(
    ("guess", "distance", "cap", "message"),
    [
        (row(1, 1), row(1, 2), 10, "constant"),
        (row(1, 1, 2), row(1, 2, 0), 10, "constant"),
        (row(1, 2), row(1, 2, 3), 10, r"\(1, 1, 1, 2\), the true distance \(1, 1, 1, 3\)"),
        (row(1, 2), row(0, math.nan), 10, "no pixel"),
        (row(1, 2), row(20, 30), 10, "up to 10"),
        (row(1, math.nan), row(1, 2), 10, "NaN"),
        (row(1, 2), row(1, 2), math.inf, "cap is inf"),
    ],
)
def test_bad_distances_are_refused(guess, distance, cap, message):
    with pytest.raises(ValueError, match=message):
        abs_rel_delta1(guess, distance, cap)


@pytest.mark.parametrize(
    ("guess", "disparity", "message"),
    [
        (row(1, 1), row(0.1, 0.2), "constant"),
        (row(1, 2), row(0.1), "make them one size"),
        (row(1, 2), row(0, math.nan), "no pixel of 0.01"),
        (row(1, 2), row(0.5, 2), "goes from 0.5 to 2"),
    ],
)
def test_bad_relative_disparities_are_refused(guess, disparity, message):
    with pytest.raises(ValueError, match=message):
        rmse_delta1(guess, disparity)


def test_psnr_by_hand():
    picture, truth = torch.zeros(1, 3, 8, 8), torch.full((1, 3, 8, 8), 0.1)
    assert psnr(picture, truth) == pytest.approx(20)
    truth[..., :4] = 0
    left = torch.zeros(1, 1, 8, 8, dtype=torch.bool)
    left[..., :4] = True
    assert psnr(picture, truth, left) == math.inf
    assert psnr(picture, truth, ~left) == pytest.approx(20) and psnr(picture, truth) == pytest.approx(20 + 10 * math.log10(2))


def test_luma_is_that_of_video():
    """BT.601: black 16, white 235, pure red 81, green 145, blue 41."""
    colours = torch.tensor([[0, 0, 0], [1, 1, 1], [1, 0, 0], [0, 1, 0], [0, 0, 1]], dtype=torch.float32).T.view(1, 3, 1, 5)
    assert (luma(colours) * 255).round().flatten().tolist() == [16, 235, 81, 145, 41]


def test_ssim_is_that_of_scikit_image():
    """Recorded from structural_similarity(gaussian_weights=True, sigma=1.5, use_sample_covariance=False, data_range=1)."""
    y, x = torch.meshgrid(torch.arange(24.0), torch.arange(31.0), indexing="ij")
    truth = torch.stack([0.5 + 0.5 * torch.sin(0.3 * x + c) * torch.cos(0.2 * y) for c in range(3)])[None]
    picture = (truth + 0.1 * torch.sin(1.7 * x + 2.3 * y)).clamp(0, 1)
    assert ssim(picture, truth) == pytest.approx(0.8445648083, abs=1e-8)
    assert ssim(truth, truth) == 1


def run(*arguments, code=0):
    result = CliRunner().invoke(main, list(map(str, arguments)))
    assert result.exit_code == code, result.output
    assert "Traceback" not in result.output
    return result.output


def read_csv(path):
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture
def scenes(tmp_path, monkeypatch):
    """Two pictures; the ground truth is the input through the lens, focused by the left half, at K 6 and K 3."""
    for package in PACKAGES:
        monkeypatch.setitem(sys.modules, package.module, None)
    rng = np.random.default_rng(0)
    folder = tmp_path / "set"
    for kind in ("input", "gt", "mask", "disparity"):
        (folder / kind).mkdir(parents=True)
    for name, k in (("a", 6), ("b", 3)):
        photo = torch.from_numpy(rng.integers(0, 256, (1, 3, 40, 60)).astype(np.float32) / 255)
        disparity = torch.linspace(0.1, 0.9, 60).expand(1, 1, 40, 60)
        mask = torch.zeros(1, 3, 40, 60)
        mask[..., :30] = 1
        files.write_photo(folder / "input" / f"{name}.png", photo)
        files.write_photo(folder / "gt" / f"{name}.png", lens.render(photo, disparity, float(disparity[..., :30].median()), k))
        files.write_photo(folder / "mask" / f"{name}.png", mask)
        np.save(folder / "disparity" / f"{name}.npy", disparity[0, 0].numpy())
    (folder / "settings.json").write_text(json.dumps({"b": {"k": 3}}), encoding="utf-8")
    return folder


def test_the_lens_finds_its_own_pictures(scenes, tmp_path):
    """k from --k and settings.json, focus from the mask, finished pictures by --outputs, and what is said of what did not run."""
    out = tmp_path / "out"
    text = run("evaluate", scenes, "--k", 6, "--outputs", f"other={scenes / 'gt'}", "-o", out, "--device", "cpu")
    assert (out / "table.md").read_text(encoding="utf-8") in text
    assert sorted(path.name for path in out.iterdir()) == ["pictures", "pictures.csv", "sheet.png", "table.csv", "table.md"]
    table = {row["method"]: row for row in read_csv(out / "table.csv")}
    assert list(table) == ["input", "other", "lens"]
    assert table["lens"]["PSNR RGB"] == table["other"]["PSNR RGB"] == "inf" and table["lens"]["SSIM Y"] == "1"
    assert float(table["lens"]["seconds"]) > 0 and table["other"]["seconds"] == ""
    rows = {(row["method"], row["picture"]): row for row in read_csv(out / "pictures.csv")}
    assert len(rows) == 6
    picture, truth = (files.read_photo(scenes / kind / "a.png")[0] for kind in ("input", "gt"))
    row = rows["input", "a"]
    sharp = torch.zeros(1, 1, 40, 60, dtype=torch.bool)
    sharp[..., :30] = True
    expected = {
        "PSNR RGB": psnr(picture, truth),
        "PSNR Y": psnr(luma(picture), luma(truth)),
        "SSIM RGB": ssim(picture, truth),
        "SSIM Y": ssim(luma(picture), luma(truth)),
        "in-focus PSNR": psnr(picture, truth, sharp),
        "out-of-focus PSNR": psnr(picture, truth, ~sharp),
    }
    for column, value in expected.items():
        assert float(row[column]) == pytest.approx(value, rel=1e-5)
        mean = (float(row[column]) + float(rows["input", "b"][column])) / 2
        assert float(table["input"][column]) == pytest.approx(mean, rel=1e-5)
    assert "not run: LPIPS, DISTS, NIQE, MANIQA, MUSIQ, CLIP-IQA, FID (pyiqa is not installed)." in text
    assert "not run: ST-LPIPS (stlpips-pytorch is not installed)." in text
    assert f"| input (LQ) | {float(table['input']['PSNR RGB']):.2f} |" in text and text.count(" - |") == 3 * 12 + 2
    assert Image.open(out / "sheet.png").size == (4 * 256, 20 + 2 * 256)


def test_focus_of_the_settings_goes_before_the_mask(scenes, tmp_path):
    (scenes / "settings.json").write_text(json.dumps({"a": {"focus": 0.8}, "b": {"focus": 0.8, "k": 2}}), encoding="utf-8")
    run("evaluate", scenes, "--k", 6, "--methods", "lens", "-o", tmp_path / "out", "--device", "cpu")
    for name, k in (("a", 6), ("b", 2)):
        photo, near = (
            files.read_photo(scenes / "input" / f"{name}.png")[0],
            files.read_map(scenes / "disparity" / f"{name}.npy"),
        )
        expected = (lens.render(photo, near, 0.8, k) * 255).round()
        assert torch.equal(files.read_photo(tmp_path / f"out/pictures/lens/{name}.png")[0] * 255, expected)


@pytest.fixture
def pyiqa(monkeypatch):
    """Stands in for pyiqa by what its documentation says of create_metric and of metrics."""

    class Metric:
        def __init__(self, name):
            self.name = name

        def __call__(self, target, ref=None, **options):
            if self.name == "fid":
                assert isinstance(target, str) and isinstance(ref, str) and options == {"verbose": False}
                return np.float64(12.5)
            assert target.shape == (1, 3, 40, 60) and 0 <= target.min() and target.max() <= 1
            assert (ref is not None) == (self.name in ("lpips", "dists"))
            if self.name == "niqe" and target.mean() < 1:
                raise AssertionError("too small\nfor 96 x 96 blocks")
            value = (target - ref).abs().mean() if ref is not None else target.mean()
            return value.view(1, 1, 1, 1) if self.name == "lpips" else value.view(1)

    def create_metric(metric_name, as_loss=False, device=None, **_options):
        assert device == torch.device("cpu") and not as_loss
        if metric_name == "musiq":
            raise OSError("no route to the weights")
        return Metric(metric_name)

    module = ModuleType("pyiqa")
    module.create_metric = create_metric
    monkeypatch.setitem(sys.modules, "pyiqa", module)
    monkeypatch.setattr("importlib.metadata.version", {"pyiqa": "0.1.16"}.get)


def test_learned_metrics(scenes, tmp_path, pyiqa):
    text = run("evaluate", scenes, "--k", 6, "-o", tmp_path / "out", "--device", "cpu")
    table = {row["method"]: row for row in read_csv(tmp_path / "out" / "table.csv")}
    distance = [
        float(
            (files.read_photo(scenes / "input" / f"{n}.png")[0] - files.read_photo(scenes / "gt" / f"{n}.png")[0]).abs().mean()
        )
        for n in "ab"
    ]
    assert float(table["input"]["LPIPS"]) == pytest.approx(sum(distance) / 2, rel=1e-5) and table["lens"]["DISTS"] == "0"
    assert table["lens"]["FID"] == "12.5" and 0 < float(table["lens"]["MANIQA"]) < 1
    assert table["input"]["MUSIQ"] == table["input"]["NIQE"] == table["lens"]["NIQE"] == ""
    assert "not run: MUSIQ (OSError: no route to the weights)." in text
    assert "not run: NIQE (AssertionError: too small for 96 x 96 blocks)." in text
    assert (
        "LPIPS, DISTS, MANIQA, CLIP-IQA, FID: pyiqa 0.1.16 (Chen and Mo" in text and "FID: 2 pictures for 2048 features" in text
    )


def spoil(what):
    def change(folder):
        if what == "small":
            Image.new("RGB", (10, 10)).save(folder / "input" / "b.png")
        elif what == "white":
            Image.new("L", (60, 40), 255).save(folder / "mask" / "a.png")
        elif what == "range":
            np.save(folder / "disparity" / "a.npy", np.linspace(0, 3, 2400, dtype=np.float32).reshape(40, 60))
        elif what == "twice":
            Image.new("RGB", (60, 40)).save(folder / "input" / "b.jpg")
        else:
            (folder / "settings.json").write_text(what, encoding="utf-8")

    return change


@pytest.mark.parametrize(
    ("change", "arguments", "code", "message"),
    [
        (lambda folder: (folder / "gt" / "b.png").unlink(), (), 1, "gt has no picture b, which input/ has"),
        (lambda folder: (folder / "input" / "b.png").unlink(), (), 1, "b.png has no partner in input/"),
        (lambda folder: (folder / "disparity" / "a.npy").unlink(), (), 1, "disparity has no picture a"),
        (spoil("small"), (), 1, "b.png is 10 x 10 pixels, its ground truth 60 x 40"),
        (spoil("white"), (), 1, "is of one kind everywhere"),
        (spoil("range"), (), 1, "a.npy: disparity goes from 0 to 3"),
        (spoil("twice"), (), 1, "has both b.jpg and b.png"),
        (spoil("{"), (), 1, "is not readable JSON"),
        (spoil("[]"), (), 1, "must be like"),
        (spoil('{"c": {}}'), (), 1, "has settings for c"),
        (spoil('{"a": {"K": 3}}'), (), 1, 'has {"K": 3} for a'),
        (None, ("--methods", "lens,magic"), 2, "no method 'magic'"),
        (None, ("--methods", "lens,upscale:nowhere.pth+lens"), 2, "There is no upscaler nowhere.pth"),
        (None, ("--methods", "ours"), 2, "Give either --base and --adapter, or --model"),
        (None, ("--methods", "other-depth"), 2, "go together"),
        (None, ("--outputs", "lens=."), 2, "choose another"),
        (None, ("--outputs", "../x=."), 2, "not NAME=PATH"),
        (None, ("--outputs", "x=nowhere"), 2, "not NAME=PATH"),
    ],
)
def test_bad_sets_are_refused_before_anything_is_written(scenes, tmp_path, change, arguments, code, message):
    if change is not None:
        change(scenes)
    text = run("evaluate", scenes, *arguments, "-o", tmp_path / "out", "--device", "cpu", code=code)
    assert message in " ".join(text.split())
    assert [path.name for path in tmp_path.iterdir()] == ["set"]


def test_a_failure_on_the_way_leaves_nothing(scenes, tmp_path, monkeypatch):
    calls = []

    def fail(*_arguments):
        calls.append(1)
        if len(calls) == 3:
            raise ValueError("stop")
        return torch.zeros(1, 3, 40, 60)

    monkeypatch.setattr(lens, "render", fail)
    assert "stop" in run("evaluate", scenes, "-o", tmp_path / "out", "--device", "cpu", code=1)
    assert [path.name for path in tmp_path.iterdir()] == ["set"]
    (tmp_path / "out").mkdir()
    assert "give a new folder" in run("evaluate", scenes, "-o", tmp_path / "out", code=2)


def test_without_the_extra_it_says_what_to_install(scenes, tmp_path, monkeypatch):
    for name in ("benchmark", "metrics"):
        monkeypatch.delitem(sys.modules, f"magicbokeh_ops.evaluation.{name}", raising=False)
        monkeypatch.delattr(evaluation, name, raising=False)
    monkeypatch.setitem(sys.modules, "kornia.metrics", None)
    assert "pip install 'magicbokeh[eval]'" in run("evaluate", scenes, "-o", tmp_path / "out", code=1)
