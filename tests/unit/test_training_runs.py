"""Runs of training: stopped and gone on with, by their own settings, in two processes, and each stage on scenes of its own."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from magicbokeh_ops.files import write_photo
from magicbokeh_ops.synthesis.dataset import Sample
from magicbokeh_ops.synthesis.sources import Procedural
from magicbokeh_ops.training import train as training
from magicbokeh_ops.training.settings import read_settings
from magicbokeh_ops.training.trainee import build
from tests.support.training_runs import CONFIG, NETWORK, folder_with, settings_of

PACK = Path(__file__).parents[2]


@pytest.mark.long
def test_a_killed_run_goes_on_as_if_nothing_had_been(drawn, tmp_path):
    stages = {"kind": "base", "steps": 22}, {"kind": "alternate", "steps": 22, "turns": [3, 2]}
    logs, models = [], []
    for name, kills in (("whole", ()), ("killed", (4, 8))):
        place = tmp_path / name
        place.mkdir()
        settings = settings_of(place, *stages)
        folder = folder_with(drawn, place)
        log = folder / "log.jsonl"
        command = [sys.executable, "-c", "from magicbokeh_ops.cli import main; main()", "train"]
        for lines in kills:  # within the first stage, and within the second
            process = subprocess.Popen([*command, str(place / "run.yaml"), "-o", str(folder)], stderr=subprocess.DEVNULL)
            while process.poll() is None and (not log.exists() or len(log.read_text(encoding="utf-8").splitlines()) < lines):
                time.sleep(0.01)
            assert process.poll() is None, "the run was over before it could be killed"
            process.kill()
            process.wait()
        models.append(training.train(settings, folder, build).state_dict())
        logs.append([json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()])
    assert len(logs[0]) == len(logs[1]) == 10
    for whole, killed in zip(*logs):
        assert whole.keys() == killed.keys()
        for key, value in whole.items():
            assert killed[key] == (value if isinstance(value, str) else pytest.approx(value, rel=1e-4)), (whole, killed)
    for key, value in models[0].items():
        assert torch.allclose(value, models[1][key], atol=1e-5), key


@pytest.mark.long
def test_a_run_stopped_between_stages_keeps_what_the_first_one_learned(drawn, tmp_path, monkeypatch):
    monkeypatch.setattr(training, "look", lambda *_: {})
    folder = folder_with(drawn, tmp_path)
    stages = {"kind": "base"}, {"kind": "alternate", "turns": [1, 1]}
    first = training.train(settings_of(tmp_path, stages[0]), folder, build).state_dict()
    stopped = training.train(settings_of(tmp_path, *stages), folder, build).state_dict()
    name = "unet.up_blocks.0.resnets.0.conv1"
    assert torch.equal(stopped[f"{name}.base_layer.weight"], first[f"{name}.weight"])  # frozen from then on
    (tmp_path / "whole").mkdir()
    whole = folder_with(drawn, tmp_path / "whole")
    expected = training.train(settings_of(tmp_path, *stages), whole, build).state_dict()
    for key, value in expected.items():
        assert torch.allclose(stopped[key], value, atol=1e-5), key


def test_a_pool_of_other_settings_is_drawn_anew(tmp_path, monkeypatch, capsys):
    drawn = []

    def build(seed, count, **_):
        drawn.append((seed, count))
        return Procedural(torch.full((count, 3, 2, 2), seed, dtype=torch.uint8), torch.zeros(count, 1, 1, 1, dtype=torch.uint8))

    monkeypatch.setattr(Procedural, "build", build)
    for pool, seed in ((2, 0), (2, 0), (3, 0), (3, 5), (3, 5)):
        settings = settings_of(tmp_path, {"kind": "base"}, data={**CONFIG["data"], "pool": pool}, seed=seed)
        source = training.run.find_source(settings, tmp_path, held_out=False)
        assert len(source.images) == pool and (source.images == seed).all()
    assert drawn == [(0, 2), (0, 3), (5, 3)]
    assert capsys.readouterr().err.count("so it is drawn anew") == 2


@pytest.mark.long
def test_a_run_goes_on_with_its_own_settings_only(drawn, tmp_path, monkeypatch):
    monkeypatch.setattr(training, "look", lambda *_: {})
    folder, stage = folder_with(drawn, tmp_path), {"kind": "encoder", "steps": 1}

    def run(*stages, **changes):
        return training.train(settings_of(tmp_path, *stages, **changes), folder, build)

    run(stage)
    state = (folder / "state.pt").read_bytes()
    for stages, changes, message in (
        ([{**stage, "rate": 2e-3}], {}, "rate in stage 1 was 0.001, now it is 0.002"),
        ([stage], {"seed": 1}, "seed was 0, now it is 1"),
        ([stage], {"network": {**NETWORK, "groups": 2}}, "groups in network was 4, now it is 2"),
        ([stage], {"data": {**CONFIG["data"], "pool": 3}}, "pool in data was 2, now it is 3"),
        ([stage], {"precision": "bf16"}, 'precision was "no", now it is "bf16"'),
        ([{**stage, "kind": "base"}, stage], {}, 'kind in stage 1 was "encoder", now it is "base"'),
    ):
        with pytest.raises(ValueError, match=message):
            run(*stages, **changes)
    assert (folder / "state.pt").read_bytes() == state
    # What decides nothing may change, and stages may follow.
    run(stage, {**stage, "rate": 2e-3}, sheet_steps=7, save_seconds=9.0, saved="fp16")
    old = torch.load(folder / "state.pt", weights_only=True)
    del old["settings"]
    torch.save(old, folder / "state.pt")
    with pytest.raises(ValueError, match="does not say with which settings"):
        run(stage)


# Each process draws scenes of its own, so that without shared gradients their networks would go apart.
TOGETHER = """
import sys
from pathlib import Path
import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from accelerate.utils import gather
from magicbokeh_ops.training.settings import read_settings
from magicbokeh_ops.training.train import train
from magicbokeh_ops.training.trainee import build
free = Accelerator.free_memory

def compare(accelerator):
    # At the end of each stage, since the next one starts with the weights of the first process.
    first, second = gather(torch.cat([parameter.flatten() for parameter in accelerator._models[0].parameters()])[None])
    if accelerator.is_main_process:  # two processes' lines can run into each other
        print("equal" if torch.equal(first, second) and first.isfinite().all() else "apart")
    free(accelerator)

Accelerator.free_memory = compare
train(read_settings(Path(sys.argv[1])), Path(sys.argv[2]), build)
"""


def both_batches(batches, places, _workers):
    """What two devices take in each round, as one batch."""
    for place in places:
        rounds = [vars(batches.make(number)) for number in (2 * place, 2 * place + 1)]
        yield Sample(**{key: torch.cat([sample[key] for sample in rounds]) for key in rounds[0]})


@pytest.mark.long
def test_two_processes_learn_one_model(drawn, tmp_path, monkeypatch):
    """In every kind of stage, whose steps reach different parts of the networks; and the model is that of one with twice the batch."""
    kinds = ("encoder", "base", "restoration", "alternate", "joint")
    settings_of(tmp_path, *({"kind": kind, "steps": 2, "batch": 1} for kind in kinds))
    folder = folder_with(drawn, tmp_path)
    (tmp_path / "together.py").write_text(TOGETHER, encoding="utf-8")
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2", tmp_path / "together.py"]
    place = {**os.environ, "ACCELERATE_USE_CPU": "true", "OMP_NUM_THREADS": "1", "PYTHONPATH": str(PACK)}
    done = subprocess.run([*command, tmp_path / "run.yaml", folder], env=place, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0 and done.stdout.split() == ["equal"] * len(kinds), done.stderr[-3000:]
    monkeypatch.setattr(training.run, "load_batches", both_batches)
    (tmp_path / "alone").mkdir()
    training.train(read_settings(tmp_path / "run.yaml"), folder_with(drawn, tmp_path / "alone"), build)
    logs = [(place / "log.jsonl").read_text(encoding="utf-8").splitlines() for place in (folder, tmp_path / "alone" / "run")]
    assert len(logs[0]) == len(logs[1]) == 3 * len(kinds)
    for together, alone in zip(*([json.loads(line) for line in log] for log in logs)):
        assert together == {
            key: value if isinstance(value, str) else pytest.approx(value, rel=1e-4) for key, value in alone.items()
        }


@pytest.mark.long
def test_no_two_stages_draw_the_same_scenes_or_noise(drawn, tmp_path, monkeypatch):
    monkeypatch.setattr(training, "look", lambda *_: {})
    seeds, noise = [], []
    make, load = training.picture_of, training.run.load_batches
    monkeypatch.setattr(training.run, "load_batches", lambda batches, *_: seeds.append(batches.seed) or load(batches, *_))
    monkeypatch.setattr(training, "picture_of", lambda *_: noise.append(torch.initial_seed()) or make(*_))
    stage = {"kind": "base", "steps": 2, "batch": 1}
    for seed in (0, 1):
        folder = tmp_path / str(seed)
        folder.mkdir()
        training.train(settings_of(folder, stage, stage, seed=seed), folder_with_pools(folder, seed, drawn), build)
    assert seeds == [0, 1, 100, 101]  # those of the run in docs/nano.jsonl
    assert len(set(noise)) == len(noise) == 8


def folder_with_pools(folder: Path, seed: int, drawn: Path) -> Path:
    """The module's pools under the name of another seed."""
    for name, own in (("pool", seed), ("held-out", seed + training.run.HELD_OUT)):
        content = torch.load(drawn / f"{name}.pt", weights_only=True)
        torch.save({**content, "drawn": {**content["drawn"], "seed": own}}, folder / f"{name}.pt")
    return folder


def test_scenes_of_the_users_pictures_to_look_at_are_not_those_of_a_stage(tmp_path, monkeypatch):
    rgba = torch.rand(1, 3, 96, 96), torch.ones(1, 1, 96, 96)
    write_photo(tmp_path / "photo.png", *rgba)
    seeds = []
    make = training.run.make_batches
    monkeypatch.setattr(training.run, "make_batches", lambda *_: seeds.append(_[-1]) or make(*_))
    monkeypatch.setattr(training, "look", lambda *_: {})
    data = {**CONFIG["data"], "images": str(tmp_path), "cutouts": str(tmp_path)}
    training.train(settings_of(tmp_path, {"kind": "encoder", "steps": 1}, data=data), tmp_path / "run", build)
    assert len(seeds) == len(set(seeds)) == 2


@pytest.mark.long
def test_a_stopped_run_in_fp16_goes_on_with_its_scale(drawn, tmp_path, monkeypatch):
    monkeypatch.setattr(training, "look", lambda *_: {})
    descend, calls, ends = training.run.descend, [], []

    def interrupted(*arguments):
        calls.append(1)
        if len(calls) == 5:
            raise KeyboardInterrupt
        descend(*arguments)

    monkeypatch.setattr(training.run, "descend", interrupted)
    for name in ("whole", "stopped"):
        (tmp_path / name).mkdir()
        folder = folder_with(drawn, tmp_path / name)
        settings = settings_of(tmp_path / name, {"kind": "encoder", "steps": 3, "size": 48, "batch": 1}, precision="fp16")
        if name == "stopped":
            with pytest.raises(KeyboardInterrupt):
                training.train(settings, folder, build)
        training.train(settings, folder, build)
        ends.append(torch.load(folder / "state.pt", weights_only=True))
    assert ends[0]["state"]["scaler"]["scale"] > 0
    assert ends[0]["state"]["scaler"] == ends[1]["state"]["scaler"]
    for key, value in ends[0]["model"].items():
        assert torch.allclose(value, ends[1]["model"][key], atol=1e-5), key
