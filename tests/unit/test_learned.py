"""Metrics of other packages, each with the real package where it is installed."""

from pathlib import Path

import pytest
import torch

from magicbokeh_ops import demo, files
from magicbokeh_ops.evaluation import learned
from magicbokeh_ops.evaluation.benchmark import COLUMNS
from magicbokeh_ops.evaluation.learned import Learned, Package

CPU = torch.device("cpu")
OF_COLUMN = {column: package for package in learned.PACKAGES for column in package.metrics}


@pytest.fixture
def measure(monkeypatch):
    """measure(column, picture, truth), by the real package; skips without it."""

    def by_package(column, picture, truth):
        package = OF_COLUMN[column]
        pytest.importorskip(package.module, exc_type=ImportError)
        monkeypatch.setattr(learned, "PACKAGES", (package,))
        metrics = Learned(CPU)
        found = metrics.score(picture, truth)
        assert not metrics.absent
        assert f"{column}: {package.name} " in metrics.notes(1)[0] and package.source in metrics.notes(1)[0]
        return found[column]

    return by_package


@pytest.fixture(scope="module")
def photo():
    return files.read_photo(Path(demo.__file__).parent / "assets" / "demo.jpg")[0][..., 100:292, 100:308]


def noisy(photo, deviation):
    noise = torch.randn(photo.shape, generator=torch.Generator().manual_seed(0))
    return ((photo + deviation * noise).clamp(0, 1) * 255).round() / 255


def test_every_metric_has_a_column():
    assert OF_COLUMN.keys() <= COLUMNS.keys()


@pytest.mark.parametrize("column", ["SSIMULACRA2", "FLIP", "ColorVideoVDP", "ST-LPIPS", "BRISQUE"])
def test_noise_is_worse_the_more_there_is(measure, photo, column):
    scores = [measure(column, noisy(photo, deviation), photo) for deviation in (0, 0.03, 0.1, 0.3)]
    if COLUMNS[column][0] == "↓":
        scores = [-score for score in scores]
    assert all(better > worse for better, worse in zip(scores, scores[1:])), scores


@pytest.mark.parametrize(("column", "best"), [("SSIMULACRA2", 100), ("FLIP", 0), ("ColorVideoVDP", 10), ("ST-LPIPS", 0)])
def test_equal_pictures_are_perfect(measure, photo, column, best):
    assert measure(column, photo, photo.clone()) == pytest.approx(best, abs=1e-5)


def test_flip_of_white_and_black(measure):
    """As published: HyAB in Hunt-adjusted L*a*b*, to the power 0.7, over that of green and blue; 0.4 of it becomes 0.95."""
    green, blue = (87.7347, -86.1827, 83.1793), (32.2970, 79.1875, -107.8602)
    adjusted = [(lightness, 0.01 * lightness * a, 0.01 * lightness * b) for lightness, a, b in (green, blue)]
    differences = [first - second for first, second in zip(*adjusted)]
    share = (100 / (abs(differences[0]) + (differences[1] ** 2 + differences[2] ** 2) ** 0.5)) ** 0.7
    expected = 0.95 + 0.05 * (share - 0.4) / 0.6
    assert measure("FLIP", torch.ones(1, 3, 40, 60), torch.zeros(1, 3, 40, 60)) == pytest.approx(expected, abs=1e-3)


def test_st_lpips_is_called_as_its_authors_do(measure, photo):
    pytest.importorskip("stlpips_pytorch.stlpips", exc_type=ImportError)
    from stlpips_pytorch import stlpips, utils

    spoiled = noisy(photo, 0.1)
    network = stlpips.LPIPS(net="alex", variant="shift_tolerant", verbose=False)
    pair = [utils.im2tensor((picture[0].permute(1, 2, 0) * 255).round().numpy()) for picture in (spoiled, photo)]
    with torch.inference_mode():
        expected = float(network(*pair))
    assert measure("ST-LPIPS", spoiled, photo) == pytest.approx(expected, rel=1e-3)


def test_one_that_is_missing_or_fails_leaves_the_others(tmp_path, monkeypatch, photo):
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "mb_broken.py").write_text("raise RuntimeError('no operator\\n nms')", encoding="utf-8")
    (tmp_path / "mb_needy.py").write_text("import mb_nowhere", encoding="utf-8")
    (tmp_path / "mb_sound.py").write_text("", encoding="utf-8")

    def fails(_module, _device):
        def measure(_picture, _truth):
            raise KeyError

        return measure

    def sound(_module, device):
        assert device == CPU
        return lambda picture, truth: (picture - truth).abs().mean()

    packages = [
        Package("mb-absent", "mb_absent", {"a": sound}, ""),
        Package("mb-broken", "mb_broken", {"b": sound}, ""),
        Package("mb-needy", "mb_needy", {"c": sound, "d": sound}, ""),
        Package("mb-sound", "mb_sound", {"e": fails, "f": sound}, "Someone 2020"),
    ]
    monkeypatch.setattr(learned, "PACKAGES", packages)
    monkeypatch.setattr("importlib.metadata.version", {"mb-sound": "1.5"}.get)
    metrics = Learned(CPU)
    assert metrics.score(photo, photo * 0.5) == {"f": pytest.approx(float(photo.mean()) / 2)}
    assert metrics.notes(1) == [
        "f: mb-sound 1.5 (Someone 2020).",
        "not run: a (mb-absent is not installed).",
        "not run: b (mb-broken can't be imported: no operator nms).",
        "not run: c, d (mb-needy can't be imported: No module named 'mb_nowhere').",
        "not run: e (KeyError).",
    ]
