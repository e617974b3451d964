"""Training at a size that takes seconds: what moves when, stopping and going on, and what is exported."""

import json
import math
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
import yaml

from magicbokeh_ops import checkpoint, lens, sampler
from magicbokeh_ops.codec import make_codec
from magicbokeh_ops.network import ControlNet, UNet
from magicbokeh_ops.patch_codec import lens_blur
from magicbokeh_ops.training import train as training
from magicbokeh_ops.training.export import write_adapter
from magicbokeh_ops.training.losses import PictureLoss
from magicbokeh_ops.training.settings import Settings, Stage, read_settings
from magicbokeh_ops.training.trainee import build, build_nano

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
    file.write_text(yaml.safe_dump({**CONFIG, **changes, "stages": [{**defaults, **stage} for stage in stages]}))
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


def test_the_encoder_learns_by_itself(drawn, tmp_path, monkeypatch):
    monkeypatch.setattr(training, "look", lambda *_: {})
    settings = settings_of(tmp_path, {"kind": "encoder"})
    before = {name: value.clone() for name, value in build(settings).named_parameters()}
    model = training.train(settings, folder_with(drawn, tmp_path), build)
    changed = moved(before, dict(model.named_parameters()))
    assert changed and changed <= set(model.parts()["encoder"])


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
            while process.poll() is None and (not log.exists() or len(log.read_text().splitlines()) < lines):
                time.sleep(0.01)
            assert process.poll() is None, "the run was over before it could be killed"
            process.kill()
            process.wait()
        models.append(training.train(settings, folder, build).state_dict())
        logs.append([json.loads(line) for line in log.read_text().splitlines()])
    assert len(logs[0]) == len(logs[1]) == 10
    for whole, killed in zip(*logs):
        assert whole.keys() == killed.keys()
        for key, value in whole.items():
            assert killed[key] == (value if isinstance(value, str) else pytest.approx(value, rel=1e-4)), (whole, killed)
    for key, value in models[0].items():
        assert torch.allclose(value, models[1][key], atol=1e-5), key


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
        (model.parts()["encoder_lora"], "codec.vae.", adapter.vae_modules),
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


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"stages": []}, "has no stages"),
        ({"stages": [{"kind": "magic", "steps": 1, "size": 64, "batch": 1, "rate": 1}]}, "has a stage 'magic'"),
        ({"stages": [{"kind": "base", "steps": 1, "size": 64, "batch": 1}]}, "rate is missing in stage"),
        ({"stages": [{"kind": "base", "steps": 1, "size": 64, "batch": 1, "rate": 1}], "colour": 1}, "unknown entry 'colour'"),
    ],
)
def test_bad_settings_are_named(tmp_path, content, message):
    file = tmp_path / "run.yaml"
    file.write_text(yaml.safe_dump(content))
    with pytest.raises(ValueError, match=message):
        read_settings(file)


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
    found = loss(picture, truth)
    assert torch.allclose(found, PictureLoss()(picture, truth) + 0.5 * (picture - truth).abs().mean())
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
