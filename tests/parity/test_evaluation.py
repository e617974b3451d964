"""`magicbokeh evaluate` with the recorded weights: its rows are what the other commands give."""

import csv
import re
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from PIL import Image

from magicbokeh_ops import depth, files
from magicbokeh_ops.cli import main
from magicbokeh_ops.evaluation.depth import abs_rel_delta1, rmse_delta1
from magicbokeh_ops.evaluation.learned import PACKAGES

GOLDEN = Path(__file__).parent / "golden"
DEPTH = GOLDEN / "depth" / "DAdepth_tiny.pth"
BASE = ("--base", GOLDEN / "sd", "--adapter", GOLDEN / "lora.pkl")
CPU = ("--device", "cpu")


def run(*arguments):
    result = CliRunner().invoke(main, list(map(str, arguments)))
    assert result.exit_code == 0, result.output
    return result.output


@pytest.fixture(scope="module", autouse=True)
def small_tiles():
    """Both sides of every comparison run the same sampler, so that it need not work on 512 pixels."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("magicbokeh_ops.model.sampler.TRAINED", 16)
        patch.setattr("magicbokeh_ops.model.sampler.RELEASED_STRIDE", 8)
        for package in PACKAGES:
            patch.setitem(sys.modules, package.module, None)
        yield


@pytest.fixture(scope="module")
def scenes(tmp_path_factory):
    folder = tmp_path_factory.mktemp("evaluation")
    photo, ramp = Image.open(GOLDEN / "inputs" / "image.png"), Image.linear_gradient("L").rotate(90)
    pictures = [photo.crop((300, 250, 396, 330))] * 2 + [
        ramp.resize((96, 80)),
        ramp.resize((96, 80)).point(lambda x: 255 * (x > 170)),
    ]
    for kind, content in zip(("input", "gt", "disparity", "mask"), pictures):
        (folder / kind).mkdir()
        content.save(folder / kind / "x.png")
    return folder


@pytest.fixture(scope="module")
def results(scenes, tmp_path_factory):
    place = tmp_path_factory.mktemp("results")
    run("convert", *BASE, "-o", place / "merged.safetensors")
    options = ("--plain-depth-model", DEPTH, "--input-size", 126, "--also", f"again={place / 'merged.safetensors'}", *CPU)
    run("evaluate", scenes, *BASE, *options, "--k", 30, "-o", place / "out")
    return place


def picture(path):
    return files.read_photo(path)[0] * 255


@pytest.mark.slow
def test_rows(results):
    with (results / "out" / "table.csv").open(encoding="utf-8") as file:
        table = {row["method"]: row for row in csv.DictReader(file)}
    assert list(table) == ["input", "lens", "two-stage", "no-mask", "other-depth", "ours", "again"]
    assert table["input"]["PSNR RGB"] == "inf" and all(float(row["seconds"]) > 0 for row in list(table.values())[1:])
    made = {name: picture(results / "out" / "pictures" / name / "x.png") for name in list(table)[1:]}
    assert (made["ours"] - made["again"]).abs().max() <= 1
    names = [name for name in made if name != "again"]
    for i, first in enumerate(names):
        for second in names[i + 1 :]:
            assert (made[first] - made[second]).abs().max() > 2, (first, second)


@pytest.mark.long
def test_rows_are_what_the_other_commands_give(scenes, results):
    photo, near, mask = (scenes / kind / "x.png" for kind in ("input", "disparity", "mask"))
    scene = ("-d", near, "--focus-mask", mask, "--normalize", "none", *CPU)
    run("render", photo, *scene, *BASE, "--k", 30, "-o", results / "ours.npy")
    run("render", photo, *scene, *BASE, "--k", 0, "-o", results / "restored.npy")
    run("lens", results / "restored.npy", *scene, "--k", 30, "-o", results / "two-stage.npy")
    guess = ("--depth-model", DEPTH, "--input-size", 126, "--focus-mask", mask, *CPU)
    run("render", photo, *guess, *BASE, "--k", 30, "-o", results / "other-depth.npy")
    for name in ("ours", "two-stage", "other-depth"):
        by_hand = torch.from_numpy(np.load(results / f"{name}.npy")).permute(2, 0, 1) * 255
        assert (picture(results / "out" / "pictures" / name / "x.png") - by_hand).abs().max() <= 1, name


@pytest.mark.long
def test_depth_model_instead_of_maps(scenes, tmp_path):
    """As released: 8-bit disparity, focus by the released front end."""
    folder = tmp_path / "set"
    shutil.copytree(scenes, folder)
    shutil.rmtree(folder / "disparity")
    options = ("--depth-model", DEPTH, "--input-size", 126, "--preset", "reference", *CPU)
    run("evaluate", folder, *BASE, *options, "--methods", "ours", "-o", tmp_path / "out")
    run(
        "render",
        folder / "input" / "x.png",
        *BASE,
        *options,
        "--focus-mask",
        folder / "mask" / "x.png",
        "-o",
        tmp_path / "x.png",
    )
    assert torch.equal(picture(tmp_path / "out" / "pictures" / "ours" / "x.png"), picture(tmp_path / "x.png"))


def test_depth(tmp_path):
    for kind in ("input", "distance", "disparity"):
        (tmp_path / kind).mkdir()
    network = depth.build(*depth.read_depth(DEPTH), DEPTH.name)
    scores, relative = [], []
    for name in ("img_167x251_in126", "img_150x150_sq"):
        source = GOLDEN / "depth" / f"{name}.png"
        shutil.copy(source, tmp_path / "input" / f"{name}.png")
        with torch.inference_mode():
            found = depth.disparity(network, files.read_photo(source)[0], 126)
        truth = 1 / (found**2 + 0.2)
        truth[..., :5, :] = torch.nan
        np.save(tmp_path / "distance" / f"{name}.npy", truth[0, 0].numpy())
        np.save(tmp_path / "disparity" / f"{name}.npy", found[0, 0].square().numpy())
        scores.append(abs_rel_delta1(found, truth, 4))
        relative.append(rmse_delta1(found, found.square()))
    for options, expected in ((("--cap", 4), scores), ((), relative)):
        text = run("evaluate-depth", tmp_path, "--model", DEPTH, "--input-size", 126, *options, *CPU)
        values = [sum(column) / 2 for column in zip(*expected)]
        assert [float(value) for value in re.findall(r"(0\.\d{4})", text)] == pytest.approx(values, abs=6e-5), text
        shutil.rmtree(tmp_path / "distance", ignore_errors=True)
