"""Training at a size that takes seconds: what moves when, stopping and going on, and what is exported."""

import json
import math
import os
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
import yaml
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from torch import Tensor

from magicbokeh_ops import lens, sampler
from magicbokeh_ops.files import write_photo
from magicbokeh_ops.model.nano import lens_blur
from magicbokeh_ops.model.network import ControlNet, UNet
from magicbokeh_ops.model.vae import make_codec
from magicbokeh_ops.synthesis.sources import Procedural
from magicbokeh_ops.training import train as training
from magicbokeh_ops.training.export import write_adapter
from magicbokeh_ops.training.losses import PictureLoss
from magicbokeh_ops.training.settings import Settings, Stage, read_settings
from magicbokeh_ops.training.trainee import build, build_nano
from magicbokeh_ops.weights import checkpoint

PACK = Path(__file__).parents[2]
BASE = ("unet", "bokeh_lora", "controlnet", "codec", "encoder")
GOLDEN = Path(__file__).parents[1] / "parity" / "golden"
NETWORK = {"channels": [16, 16], "heads": [1, 0], "layers": 1, "groups": 4, "hint_channels": [4, 4, 4]}
CONFIG = {
    "network": NETWORK,
    "sr_rank": 2,
    "bokeh_rank": 2,
    "data": {"pool": 2, "strength": "mild", "scale": 2, "workers": 0},
    "sheet_steps": 1000,
    "save_seconds": 0.0,
}


def settings_of(tmp_path, *stages, **changes) -> Settings:
    file = tmp_path / "run.yaml"
    defaults = {"steps": 4, "size": 64, "batch": 2, "rate": 1e-3, "warmup": 1}
    file.write_text(
        yaml.safe_dump({**CONFIG, **changes, "stages": [{**defaults, **stage} for stage in stages]}), encoding="utf-8"
    )
    return read_settings(file)


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    """A folder with the pools of drawn pictures, for all runs."""
    folder = tmp_path_factory.mktemp("drawn")
    settings = settings_of(folder, {"kind": "base"})
    for held_out in (False, True):
        training.run.find_source(settings, folder, held_out)
    return folder


def folder_with(drawn, tmp_path) -> Path:
    folder = tmp_path / "run"
    folder.mkdir()
    for name in ("pool.pt", "held-out.pt"):
        (folder / name).symlink_to(drawn / name)
    return folder


def moved(before: dict, after: dict) -> set[str]:
    return {name for name, value in before.items() if not torch.equal(value, after[name])}


@pytest.mark.long
@pytest.mark.parametrize(
    ("kind", "masks", "bokeh", "restoration"),
    [
        ("base", True, BASE, BASE),
        ("restoration", True, None, ("sr_lora", "encoder_lora", "encoder")),
        ("alternate", True, ("controlnet", "bokeh_lora"), ("sr_lora",)),
        ("alternate", False, ("controlnet", "bokeh_lora"), ("sr_lora",)),
        ("joint", True, ("controlnet", "bokeh_lora", "sr_lora"), ("controlnet", "bokeh_lora", "sr_lora")),
    ],
)
def test_each_phase_moves_its_own_parameters_and_masks_are_off_in_restoration(
    drawn, tmp_path, monkeypatch, kind, masks, bokeh, restoration
):
    stage = {"kind": kind, "restoration_rate": 1e-3, "turns": [2, 2]}
    settings = settings_of(tmp_path, stage, masks=masks)
    seen: dict[bool, set[str]] = {True: set(), False: set()}
    states, calls = [], []

    def watched(settings):
        model = build(settings)
        # Zeros at both ends of a path would keep it still for the first steps.
        for parameter in model.parameters():
            torch.nn.init.normal_(parameter, std=0.05)
        return model

    make = training.picture_of

    def picture_of(model, sample, wants_bokeh, masks):
        states.append((wants_bokeh, {k: v.clone() for k, v in model.named_parameters()}, model))
        handle = model.unet.register_forward_pre_hook(lambda _m, inputs: calls.append((wants_bokeh, inputs[2])))
        picture = make(model, sample, wants_bokeh, masks)
        handle.remove()
        return picture

    monkeypatch.setattr(training, "picture_of", picture_of)
    monkeypatch.setattr(training, "look", lambda *_: {})
    model = training.train(settings, folder_with(drawn, tmp_path), watched)
    # The averaged weights come last; only what happened between two steps counts.
    for (wants_bokeh, before, _), (_, after, _) in zip(states, states[1:]):
        seen[wants_bokeh] |= moved(before, after)
    parts = model.parts()
    for wants_bokeh, learn in ((True, bokeh), (False, restoration)):
        allowed = {name for part in learn or () for name in parts[part]}
        # What enters the way up does not pass the ControlNet's last residual, and a LoRA of rank 2 may lie flat.
        assert seen[wants_bokeh] <= allowed
        for part in learn or ():
            assert not parts[part] or seen[wants_bokeh] & set(parts[part]), (kind, part)
    assert {wants for wants, _ in calls} == ({True, False} if bokeh else {False})
    for wants_bokeh, regions in calls:
        assert (regions is not None) == (wants_bokeh and masks)


@pytest.mark.long
def test_the_encoder_learns_by_itself(drawn, tmp_path, monkeypatch):
    monkeypatch.setattr(training, "look", lambda *_: {})
    settings = settings_of(tmp_path, {"kind": "encoder"})
    before = {name: value.clone() for name, value in build(settings).named_parameters()}
    model = training.train(settings, folder_with(drawn, tmp_path), build)
    changed = moved(before, dict(model.named_parameters()))
    assert changed and changed <= set(model.parts()["encoder"])


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


@pytest.mark.long
def test_exported_is_what_was_trained(drawn, tmp_path):
    stages = {"kind": "base"}, {"kind": "restoration"}, {"kind": "alternate"}
    model = training.train(settings_of(tmp_path, *stages), folder_with(drawn, tmp_path), build)
    for name, parameter in model.named_parameters():
        if ".lora_B." in name:
            torch.nn.init.normal_(parameter, std=0.1)
    file = tmp_path / "model.safetensors"
    checkpoint.save(model.weights({"trained": "test"}), file)
    weights = checkpoint.load(file)
    unet, controlnet = UNet(weights.config), ControlNet(weights.config)
    unet.load_state_dict(weights.unet)
    controlnet.load_state_dict(weights.controlnet)
    photo, defocus = torch.rand(1, 3, 64, 64), torch.rand(1, 1, 64, 64)
    mask = (defocus > 0.5).float()
    codec = make_codec(weights.vae)
    with torch.inference_mode():
        clean = sampler.predict(unet, controlnet, codec.encode(2 * photo - 1), defocus, mask)
        found, expected = (codec.decode(clean) + 1) / 2, model(photo, defocus, mask)
    assert (found - expected).abs().max() <= 1e-5 * expected.abs().max()
    # And through the whole sampler, which mirrors the photo up to what the networks know.
    with torch.inference_mode():
        picture, _ = sampler.render(codec, lambda *a: sampler.predict(unet, controlnet, *a), photo, defocus, color_fix="none")
    assert picture.shape == photo.shape


def test_nano_starts_as_the_lens_does():
    model = build_nano(Settings(stages=(), network=NETWORK, bokeh_rank=2))
    photo, defocus = torch.rand(1, 3, 64, 64), torch.zeros(1, 1, 64, 64)
    assert torch.allclose(model(photo, defocus, None), photo, atol=1e-6)
    defocus[..., 32:] = 0.4
    behind, front = (lens.render(photo, side * defocus, 0.0, 32) for side in (-1, 1))
    assert (behind - front).abs().mean() > 0.01
    for order, expected in ((0, (behind + front) / 2), (-20, behind), (20, front)):
        torch.nn.init.constant_(model.unet.conv_out.bias[-1:], order)
        assert torch.allclose(model(photo, defocus, None), expected, atol=1e-5)


def test_gradients_pass_the_lens_in_focus_only():
    defocus = torch.zeros(1, 1, 64, 64)
    defocus[..., 32:] = 0.5
    latent = torch.full((1, 48, 16, 16), -1.0, requires_grad=True)  # black, where sRGB's own slope is endless
    sum(x.sum() for x in lens_blur(latent, defocus)).backward()
    assert (latent.grad[..., :8] == 1).all() and (latent.grad[..., 8:] == 0).all()


def test_full_networks_learn_where_the_released_ones_do():
    settings = Settings(stages=(), base=GOLDEN / "sd", bokeh_rank=3, sr_rank=2)
    model = build(settings)
    model.add_sr_lora(settings.sr_rank)
    adapter = checkpoint.read_adapter(GOLDEN / "lora.pkl")
    for names, prefix, modules in (
        (model.parts()["sr_lora"], "unet.", adapter.unet_modules),
        (model.parts()["encoder_lora"], "codec.", adapter.vae_modules),
    ):
        found = {name.removeprefix(prefix).partition(".lora_")[0] for name in names if ".lora_" in name}
        assert found == set(modules)
    assert {name for name in model.parts()["sr_lora"] if ".lora_" not in name} == {
        "unet.conv_in.base_layer.weight",
        "unet.conv_in.base_layer.bias",
    }
    names = {name.removeprefix("unet.") for name in model.parts()["bokeh_lora"]}
    assert names == set(adapter.processor)
    checkpoint.check(model.weights({}), "trained")


@pytest.mark.slow
def test_an_adapter_in_the_released_layout_holds_what_was_trained(tmp_path):
    settings = Settings(stages=(), base=GOLDEN / "sd", bokeh_rank=3, sr_rank=2)
    model = build(settings)
    model.add_sr_lora(settings.sr_rank)
    torch.manual_seed(0)
    for names in (model.parts()[part] for part in ("sr_lora", "encoder_lora", "bokeh_lora", "controlnet")):
        for name in names:
            torch.nn.init.normal_(model.get_parameter(name), std=0.1)
    template, file = GOLDEN / "lora.pkl", tmp_path / "adapter.pkl"
    write_adapter(model, settings, template, file)
    # The released code finds the same classes there as in its own file.
    classes = [{name for name in checkpoint.named_classes(path) if "Storage" not in name} for path in (file, template)]
    assert classes[0] == classes[1]
    adapter, expected = checkpoint.read_adapter(file), checkpoint.read_adapter(template)
    for part in ("unet", "vae", "controlnet", "processor"):
        assert getattr(adapter, part).keys() == getattr(expected, part).keys(), part
    assert set(adapter.unet_modules) == set(expected.unet_modules)
    merged, trained = checkpoint.merge(checkpoint.read_base(GOLDEN / "sd"), adapter), model.weights({})
    assert merged.config == trained.config
    for part in ("unet", "controlnet", "vae"):
        found, wanted = getattr(merged, part), getattr(trained, part)
        assert found.keys() == wanted.keys(), part
        for key, value in wanted.items():
            assert (found[key] - value).abs().max() <= 1e-5 * value.abs().max().clamp(min=1e-3), key


@pytest.mark.long
def test_full_networks_take_a_step_of_every_kind(drawn, tmp_path, monkeypatch):
    monkeypatch.setattr(training, "look", lambda *_: {})  # 16 pictures through a VAE
    # Their coarsest level is 64 pixels wide, and a norm wants more than one of those.
    size = {"size": 128, "batch": 1}
    stages = {"kind": "restoration", "steps": 1, **size}, {"kind": "alternate", "steps": 2, "rate": 5e-5, **size}
    settings = settings_of(tmp_path, *stages, network={}, base=str(GOLDEN / "sd"))
    folder = folder_with(drawn, tmp_path)
    model = training.train(settings, folder, build)
    saved = torch.load(folder / "state.pt", weights_only=True)["model"]
    assert len(saved) < len(model.state_dict()) / 2  # what never learns is in the base's file
    again = training.train(settings, folder, build)
    for name, value in model.state_dict().items():
        assert torch.equal(value, again.state_dict()[name]), name


STAGE = "kind: base, steps: 1e2, size: 64, batch: 1, rate: 5e-5"


def settings_in(tmp_path, text: str) -> Settings:
    (tmp_path / "run.yaml").write_text(text, encoding="utf-8")
    return read_settings(tmp_path / "run.yaml")


def test_numbers_are_numbers_however_they_are_written(tmp_path):
    """PyYAML takes 5e-5 and 1e2 for text, and a bare no for false."""
    text = f"stages: [{{{STAGE}, restoration_rate: '5e-6'}}]\nprecision: no\ndata: {{scale: [1, 15e-1], k_limit: .5e1}}\nlpips: 2E0"
    settings = settings_in(tmp_path, text)
    stage = settings.stages[0]
    assert (stage.steps, stage.rate, stage.restoration_rate) == (100, 5e-5, 5e-6) and isinstance(stage.steps, int)
    assert (settings.precision, settings.data.scale, settings.data.k_limit, settings.lpips) == ("no", (1, 1.5), 5, 2)


def test_the_example_in_the_docs_and_all_files_that_come_along_can_be_read(tmp_path):
    root = Path(__file__).parents[2]
    example = (root / "docs" / "training.md").read_text(encoding="utf-8").partition("```yaml\n")[2].partition("```")[0]
    settings = settings_in(tmp_path, example)
    assert [stage.rate for stage in settings.stages] == [5e-5, 5e-5] and settings.lpips == 2
    for file in (root / "magicbokeh_ops" / "training" / "nano.yaml", root / "benchmarks" / "ablations.yaml"):
        assert read_settings(file).network.channels[0] in (48, 64)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("stages: []", "has no stages"),
        ("", "has no stages"),
        ("stages: [", "is no YAML"),
        ("stages: abc", "stages is 'abc' but should be"),
        ("stages: [{%s, kind: magic}]", "has a stage 'magic' .choose among encoder"),
        ("stages: [{kind: base, steps: 1, size: 64, batch: 1}]", "rate is missing in stage 1"),
        ("stages: [{%s}, {%s, rate: fast}]", "rate in stage 2 is 'fast' but should be a valid number"),
        ("stages: [{%s, rate: 0}]", "rate in stage 1 is 0 but should be greater than 0"),
        ("stages: [{%s, steps: 1.5}]", "steps in stage 1 is 1.5 but should be a valid integer"),
        ("stages: [{%s, turns: [0, 0]}]", "turns are 0 and 0"),
        ("stages: [{%s, speed: 1}]", "unknown entry 'speed' in stage 1 .known are kind, "),
        ("stages: [{%s}]\ncolour: 1", "unknown entry 'colour' .known are stages, "),
        ("stages: [{%s}]\nseed: yes", "seed is True but should be a number"),
        ("stages: [{%s}]\nseed: -1", "seed is -1 but should be greater"),
        ("stages: [{%s}]\nclip: .nan", "clip is nan but should be a finite number"),
        ("stages: [{%s}]\nseed: 100000000000000000", "seed is 100000000000000000 but should be less than 9007"),
        ("stages: [{%s}]\ndata: {k_limit: 1e9}", "k_limit in data is 1000000000.0 but should be less than or equal to 1000"),
        ("stages: [{%s}]\nnetwork: {channels: [8, 8], heads: [0, 0], groups: 4}", "as many heads as channels, and not only 0"),
        ("stages: [{%s}]\nnetwork: {channels: [8, 8], heads: [1], groups: 4}", "as many heads as channels"),
        ("stages: [{%s}]\nnetwork: {channels: [8, 8], heads: [3, 0], groups: 4}", "8 channels for 4 groups and 3 heads"),
        ("stages: [{%s}]\nnetwork: {channels: [8, 8], heads: [1, 0], groups: 7}", "8 channels for 7 groups"),
        (
            "stages: [{%s}]\nnetwork: {hint_channels: [4, 4, 4, 4]}",
            "network has 4 hint_channels, which don't lead to patches of 4 pixels",
        ),
        ("stages: [{%s}]\nseed: 2020-13-45", "is no YAML"),
        ("stages: [{%s}]\nseed: !!bool abc", "is no YAML"),
        ("stages: [{%s}]\nprecision: half", "precision is 'half' but should be 'no', 'bf16' or 'fp16'"),
        ("stages: [{%s}]\nnetwork: {chanels: [8]}", "unknown entry 'chanels' in network .known are channels, "),
        ("stages: [{%s}]\ndata: {scale: [1, 9]}", "it goes from 1 to 8"),
        ("stages: [{%s}]\ndata: {scale: [1, x]}", "scale in data is 'x' but should be a valid number"),
        ("stages: [{%s}]\ndata: {images: photos}", "images and cutouts go together"),
    ],
)
def test_bad_settings_are_named_in_one_line(tmp_path, text, message):
    with pytest.raises(ValueError, match=message) as caught:
        settings_in(tmp_path, text.replace("%s", STAGE))
    assert str(caught.value).startswith("run.yaml") and "\n" not in str(caught.value)


@pytest.mark.slow
@pytest.mark.parametrize("size", [50, 97, 1])
def test_a_size_that_the_networks_can_not_halve_is_refused(drawn, tmp_path, size):
    with pytest.raises(ValueError, match=f"size in stage 1 is {size}; these networks need a multiple of 8"):
        training.train(settings_of(tmp_path, {"kind": "base", "size": size}), folder_with(drawn, tmp_path), build)


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


@pytest.mark.long
def test_two_processes_learn_one_model(drawn, tmp_path):
    """In every kind of stage, whose steps reach different parts of the networks."""
    kinds = ("encoder", "base", "restoration", "alternate", "joint")
    settings_of(tmp_path, *({"kind": kind, "steps": 2, "batch": 1} for kind in kinds))
    folder = folder_with(drawn, tmp_path)
    (tmp_path / "together.py").write_text(TOGETHER, encoding="utf-8")
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2", tmp_path / "together.py"]
    place = {**os.environ, "ACCELERATE_USE_CPU": "true", "OMP_NUM_THREADS": "1", "PYTHONPATH": str(PACK)}
    done = subprocess.run([*command, tmp_path / "run.yaml", folder], env=place, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0 and done.stdout.split() == ["equal"] * len(kinds), done.stderr[-3000:]
    assert len((folder / "log.jsonl").read_text(encoding="utf-8").splitlines()) == 3 * len(kinds)


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


def test_fp16_keeps_gradients_that_it_could_not_hold_itself():
    accelerator, precision = Accelerator(), (torch.device("cpu"), "fp16")
    scaler = training.run.make_scaler(*precision)

    def moved(slope) -> Tensor:
        weight = torch.nn.Parameter(torch.zeros(4, 4))
        with training.run.autocast(*precision):
            loss = slope * (torch.eye(4) @ weight).float().sum()
        training.run.descend(accelerator, scaler, loss, torch.optim.SGD([weight], 1.0), [weight], clip=1.0)
        return -weight.detach()

    assert torch.allclose(moved(1e-8), torch.full((4, 4), 1e-8), rtol=0.01, atol=0)  # fp16 itself ends at 6e-8
    assert moved(0.5).norm() == pytest.approx(1, rel=0.01)  # clipped as it is, not as it was scaled
    scale = scaler.get_scale()
    assert (moved(1e4) == 0).all() and scaler.get_scale() < scale  # too large: left out, and less is tried


@pytest.mark.slow
def test_what_accelerate_is_configured_for_changes_nothing(monkeypatch):
    for name, value in (("MIXED_PRECISION", "bf16"), ("GRADIENT_ACCUMULATION_STEPS", "4"), ("DYNAMO_BACKEND", "INDUCTOR")):
        monkeypatch.setenv(f"ACCELERATE_{name}", value)
    AcceleratorState._reset_state()
    accelerator, network = training.run.start(), torch.nn.Linear(3, 1, bias=False)
    shared = accelerator.prepare(network)
    loss = shared(torch.ones(1, 3)).sum()
    assert loss.dtype == torch.float32 and type(shared) is torch.nn.Linear
    optimizer, before = torch.optim.SGD(network.parameters(), 1.0), network.weight.detach().clone()
    scaler = training.run.make_scaler(torch.device("cpu"), "no")
    training.run.descend(accelerator, scaler, loss, optimizer, [network.weight], clip=9.0)
    assert torch.allclose(before - network.weight, torch.ones(1, 3))


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


def test_lpips_is_added_by_its_weight(monkeypatch):
    """With a stand-in: its weights could not be had."""

    class Distance(torch.nn.Module):
        def __init__(self, net):
            super().__init__()
            assert net == "vgg"
            self.unused = torch.nn.Parameter(torch.ones(1))

        def forward(self, picture, truth, normalize):
            assert normalize  # pictures are in [0, 1]
            return (picture - truth).abs().mean((1, 2, 3), keepdim=True)

    monkeypatch.setitem(sys.modules, "lpips", SimpleNamespace(LPIPS=Distance))
    picture, truth = torch.rand(2, 3, 8, 8, requires_grad=True), torch.rand(2, 3, 8, 8)
    loss = PictureLoss(lpips=0.5)
    assert not any(parameter.requires_grad for parameter in loss.parameters())
    found, distance = loss(picture, truth), 0.5 * (picture - truth).abs().mean()
    # As in the paper: values and LPIPS alone. The differences between neighbours only if they are asked for.
    assert torch.allclose(found, torch.nn.functional.mse_loss(picture, truth) + distance)
    assert torch.allclose(PictureLoss(0.5, gradient=1)(picture, truth), PictureLoss()(picture, truth) + distance)
    assert torch.allclose(PictureLoss(gradient=0)(picture, truth), found - distance)
    found.backward()
    assert picture.grad.abs().sum() > 0


def test_by_picture_every_picture_counts_by_its_own_error():
    truth = torch.rand(2, 3, 16, 16)
    little, much = torch.rand(2, 3, 16, 16) * torch.tensor([0.1, 0.4])[:, None, None, None]
    loss = PictureLoss()

    def pull(by_picture):
        picture = (truth + torch.stack([little, much])).requires_grad_()
        loss(picture, truth, by_picture).backward()
        return picture.grad.flatten(1).norm(dim=1)

    assert pull(False)[0] < 0.3 * pull(False)[1]
    assert pull(True)[0] > 2 * pull(True)[1]  # a log's slope is 1 over the error
    halved = loss(truth + little / 2, truth, True) - loss(truth + little, truth, True)
    assert halved == pytest.approx(-math.log(4), abs=0.15)


def test_rate_rises_and_falls():
    stage = Stage(kind="base", steps=110, size=64, batch=1, rate=1.0, warmup=10)
    rates = [training.run.rate_at(step, stage, 2.0) for step in range(110)]
    assert rates[0] == pytest.approx(0.2) and max(rates) == 2.0 and rates[10] == 2.0
    assert rates[10:] == sorted(rates[10:], reverse=True) and rates[-1] < 0.001
