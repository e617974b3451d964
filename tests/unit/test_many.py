"""Folders of photos and sets of scenes by several workers, here and on a Ray cluster: the same files, and no failure stops the rest."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from magicbokeh_ops.cli import main, many

PACK = Path(__file__).parents[2]
SHOT = ("-d", "maps", "--focus", "0.4", "--k", "6")


def run(*arguments, code=0):
    result = CliRunner().invoke(main, list(map(str, arguments)))
    assert result.exit_code == code, result.output
    assert code == 0 or isinstance(result.exception, SystemExit)
    return result.output


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Four photos with their maps, one of which is none; it is the working directory."""
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    for name in ("photos", "maps"):
        (tmp_path / name).mkdir()
    for name in ("a.png", "b.jpg", "c.png", "d.png"):
        Image.fromarray(rng.integers(0, 256, (70, 80, 3), dtype=np.uint8)).save(tmp_path / "photos" / name)
        np.save(tmp_path / "maps" / name[0], np.tile(np.linspace(0, 1, 80, dtype=np.float32), (70, 1)))
    (tmp_path / "photos" / "c.png").write_text("no picture", encoding="utf-8")
    return tmp_path


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def one_by_one(folder: Path) -> dict[str, bytes]:
    """What the command makes of each photo alone."""
    (folder / "alone").mkdir()
    for name in ("a.png", "b.jpg", "d.png"):
        run("lens", f"photos/{name}", "-d", f"maps/{name[0]}.npy", *SHOT[2:], "-o", f"alone/{name}")
    return contents(folder / "alone")


def test_a_broken_photo_is_named_and_stops_nothing(folder):
    told = run("lens", "photos", *SHOT, "--workers", 1, "-o", "out", code=1)
    assert contents(folder / "out") == one_by_one(folder)
    listed = [line for line in told[told.index("Error: 1 of 4 failed") :].splitlines() if line.startswith("  ")]
    assert len(listed) == 1 and listed[0].startswith("  photos/c.png is not a picture")


def test_what_is_there_is_not_made_again(folder):
    run("lens", "photos", *SHOT, "--workers", 1, "-o", "out", code=1)
    (folder / "out" / "a.png").write_text("mine", encoding="utf-8")
    (folder / "out" / "d.png").unlink()
    Image.new("RGB", (80, 70)).save(folder / "photos" / "c.png")
    assert "2 of 4 are there already" in run("lens", "photos", *SHOT, "--workers", 1, "-o", "out")
    assert (folder / "out" / "a.png").read_text(encoding="utf-8") == "mine"
    assert sorted(contents(folder / "out")) == ["a.png", "b.jpg", "c.png", "d.png"]
    assert "4 of 4 are there already" in run("lens", "photos", *SHOT, "--workers", 1, "-o", "out")


def test_options_that_were_not_given_count_as_such(folder):
    """A camera refuses --k, but not its default."""
    np.save(folder / "metres.npy", np.tile(np.linspace(1, 5, 80, dtype=np.float32), (70, 1)))
    camera = ("-d", "metres.npy", "--convention", "distance", "--focal-length", 50, "--f-number", 2, "--focus-distance", 2)
    assert "1 of 4 failed" in run("lens", "photos", *camera, "--workers", 1, "-o", "out", code=1)
    assert "4 of 4 failed" in run("lens", "photos", *camera, "--k", 8, "--workers", 1, "-o", "other", code=1)


@pytest.mark.long
@pytest.mark.parametrize("command", [("lens",), ("render", "--model", "nano")])
def test_processes_make_the_same_pictures(folder, command):
    for workers in (1, 2):
        assert "1 of 4 failed" in run(*command, "photos", *SHOT, "--workers", workers, "-o", f"out{workers}", code=1)
    assert contents(folder / "out1") == contents(folder / "out2") and len(contents(folder / "out2")) == 3


@pytest.mark.slow
def test_a_process_that_dies_does_not_take_the_others_along(tmp_path):
    jobs = [many.Job("dies", tmp_path, os._exit, {"status": 9})]
    jobs += [many.Job(name, tmp_path, os.path.basename, {"p": f"of/{name}"}) for name in ("b", "c")]
    outcomes = {job.name: outcome for job, outcome in many._in_processes(jobs, 1, many.Stop())}
    assert "process ended" in outcomes["dies"].error
    assert outcomes["b"].value == "b" and outcomes["c"].value == "c"


@pytest.mark.long
@pytest.mark.parametrize("options", [("--k-limit", 8), ("--clip", 2, "--k-limit", 4)], ids=["scenes", "clips"])
def test_synth_makes_the_same_scenes(tmp_path, options):
    common = ("synth", "--count", 2, "--size", 96, *options)
    run(*common, "-o", tmp_path / "alone")
    run(*common, "--workers", 2, "-o", tmp_path / "many")
    made = contents(tmp_path / "many")
    assert json.loads(made.pop("made_with.json"))
    assert made == contents(tmp_path / "alone")
    assert "2 of 2 are there already" in run(*common, "--workers", 1, "-o", tmp_path / "many")
    assert "other options" in run(*common, "--seed", 1, "--workers", 1, "-o", tmp_path / "many", code=1)
    assert "without --workers" in run(*common, "--workers", 1, "-o", tmp_path / "alone", code=1)


@pytest.mark.long
def test_evaluate_makes_the_same_tables(tmp_path, monkeypatch):
    """With a failure there is no table, but what was made stays for the next run."""
    run("synth", "--count", 2, "--size", 96, "--k-limit", 8, "-o", tmp_path / "set")
    common = ("evaluate", tmp_path / "set", "--device", "cpu", "--methods", "input,lens,ours", "--model", "nano")
    run(*common, "-o", tmp_path / "alone")
    pictures = tmp_path / "many.part" / "pictures"
    monkeypatch.setattr(
        many, "attempt", lambda job, do=many.attempt: many.Outcome(error="no") if "ours" in job.name else do(job)
    )
    assert "2 of 4 failed" in run(*common, "--workers", 1, "-o", tmp_path / "many", code=1)
    assert len(contents(pictures / "lens")) == 2 and not contents(pictures / "ours") and not (tmp_path / "many").exists()
    monkeypatch.undo()
    text = run(*common, "--workers", 2, "-o", tmp_path / "many")
    assert "2 of 4 are there already" in text and "several at a time" in text and not (tmp_path / "many.part").exists()
    alone, together = (contents(tmp_path / name) for name in ("alone", "many"))
    assert alone.keys() == together.keys() - {"made_with.json"}
    for name in alone:
        if name.endswith(".png"):
            assert alone[name] == together[name], name


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("lens", "photos/a.png", *SHOT, "--workers", 2, "-o", "out"), "photos/a.png is none"),
        (("lens", "photos/%d.png", *SHOT, "--workers", 2, "-o", "out"), "photos/%d.png is none"),
        (("lens", "photos", *SHOT, "--workers", 2, "-o", "photos"), "photos holds the photos themselves"),
        (("lens", "photos", *SHOT, "--workers", 2, "-o", "maps/a.npy"), "maps/a.npy is a file"),
        (("lens", "photos", *SHOT, "--workers", 2, "--save-iris", "iris.png", "-o", "out"), "--save-iris is of one photo"),
        (("render", "photos/a.png", *SHOT, "-o", "out.png"), "--disparity is the folder maps"),
        (("synth", "--preview", "sheet.png", "--workers", 2), "make the --preview without them"),
    ],
)
def test_what_does_not_fit_together_is_said(folder, arguments, message):
    assert message in " ".join(run(*arguments, code=2).split())
    assert not (folder / "out").exists()


def test_a_map_without_its_photo_is_named(folder):
    (folder / "maps" / "b.npy").unlink()
    assert "maps has no picture b, which photos has" in run("lens", "photos", *SHOT, "--workers", 2, "-o", "out", code=1)


def test_a_cluster_needs_ray(folder, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    assert "pip install 'magicbokeh[cluster]'" in run("lens", "photos", *SHOT, "--ray", "auto", "-o", "out", code=1)


@pytest.mark.slow
@pytest.mark.long
def test_a_cluster_of_two_nodes_makes_the_same_pictures(folder, monkeypatch):
    pytest.importorskip("ray")
    from ray.cluster_utils import Cluster

    monkeypatch.setenv("PYTHONPATH", str(PACK))
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    try:
        cluster.add_node(num_cpus=1)
        command = [sys.executable, "-m", "magicbokeh_ops.cli", "lens", "photos", *SHOT, "--ray", cluster.address, "-o", "out"]
        done = subprocess.run(command, capture_output=True, text=True)
    finally:
        cluster.shutdown()
    assert done.returncode == 1 and "1 of 4 failed" in done.stderr and "photos/c.png is not a picture" in done.stderr, (
        done.stderr
    )
    assert contents(folder / "out") == one_by_one(folder)
