"""Training at a size that takes seconds: what moves when, and what is exported."""

from pathlib import Path

import pytest
import torch

from magicbokeh_ops import lens, sampler
from magicbokeh_ops.model.nano import lens_blur
from magicbokeh_ops.model.network import ControlNet, UNet
from magicbokeh_ops.model.vae import make_codec
from magicbokeh_ops.training import train as training
from magicbokeh_ops.training.export import write_adapter
from magicbokeh_ops.training.settings import Settings
from magicbokeh_ops.training.trainee import build, build_nano
from magicbokeh_ops.weights import checkpoint
from tests.support.training_runs import NETWORK, folder_with, settings_of

BASE = ("unet", "bokeh_lora", "controlnet", "codec", "encoder")
GOLDEN = Path(__file__).parents[1] / "parity" / "golden"


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
