"""Recorded runs of the released code on small random weights (golden/): every tensor is met, and nothing in a pickle runs."""

import json
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from safetensors.torch import load_file

from magicbokeh_ops import sampler
from magicbokeh_ops.color import match_mean_and_spread
from magicbokeh_ops.model import tiling
from magicbokeh_ops.model.network import ControlNet, UNet
from magicbokeh_ops.model.vae import vae_of
from magicbokeh_ops.weights import checkpoint

GOLDEN = Path(__file__).parent / "golden"
VAE_SCALE = 0.18215
MANIFEST = json.loads((GOLDEN / "manifest.json").read_text(encoding="utf-8"))


def grey(name):
    return torch.from_numpy(np.array(Image.open(GOLDEN / "inputs" / name), dtype=np.float32))[None, None] / 255


def check(found, expected, what):
    """Within 1e-4 of the recording's own scale."""
    assert found.shape == expected.shape, what
    assert (found - expected).abs().max() <= 1e-4 * expected.abs().max(), what


@pytest.fixture(scope="module")
def weights():
    return checkpoint.merge(checkpoint.read_base(GOLDEN / "sd"), checkpoint.read_adapter(GOLDEN / "lora.pkl"))


@pytest.fixture(scope="module")
def codec(weights):
    return vae_of(weights.vae)


@pytest.fixture(scope="module")
def networks(weights):
    unet, control = UNet(weights.config).eval(), ControlNet(weights.config).eval()
    unet.load_state_dict(weights.unet)
    control.load_state_dict(weights.controlnet)
    return unet, control


@torch.inference_mode()
def test_one_tile(networks):
    unet, control = networks
    recorded = load_file(GOLDEN / "tile.safetensors")
    seen = {}

    def record(name, module):
        module.register_forward_hook(lambda _m, inputs, output: seen.update({f"{name}_in": inputs[0], f"{name}_out": output}))

    names = MANIFEST["tile"]
    for name in ("fama16", "fama64", "plain16"):
        record(name, unet.get_submodule(names[name]))
    record("embedding", control.controlnet_cond_embedding)
    record("time", unet.time_embedding)
    record("conv_in", unet.conv_in)
    record("down", unet.down_blocks[-1])
    latent = recorded["lq_latent"]
    residuals = control(latent, grey("tile_defocus.png"))
    epsilon = unet(latent, residuals, grey("tile_mask.png"))
    for i, residual in enumerate(residuals):
        name = next(key for key in recorded if key.startswith(f"controlnet_residual_{i:02d}"))
        step = int(name.partition("@s")[2] or 1)
        check(residual[..., ::step, ::step], recorded[name], name)
    check(seen["embedding_out"][..., ::4, ::4], recorded["controlnet_cond_embedding@s4"], "hint embedding")
    check(seen["time_out"], recorded["unet_time_emb"], "time embedding")
    check(seen["conv_in_out"][..., ::4, ::4], recorded["unet_conv_in@s4"], "conv_in")
    check(seen["down_out"], recorded["unet_down_out"], "the way down")
    for name, step in (("fama16", 1), ("fama64", 4), ("plain16", 1)):
        for side in ("in", "out"):
            key = f"{name}_{side}" + (f"@s{step}" if step > 1 else "")
            check(seen[f"{name}_{side}"][:, ::step, ::step], recorded[key], key)
    check(epsilon, recorded["unet_eps"], "epsilon")
    check(sampler.clean_latent(latent, epsilon), recorded["x0_prev_sample"], "x0")


@pytest.mark.slow
@pytest.mark.parametrize(("name", "defocus", "mask"), [("all_in_focus", 0.06, 1.0), ("all_out_of_focus", 0.55, 0.0)])
@torch.inference_mode()
def test_uniform_masks(networks, codec, name, defocus, mask):
    unet, control = networks
    latent = load_file(GOLDEN / "tile.safetensors")["lq_latent"]
    residuals = control(latent, torch.full((1, 1, 512, 512), defocus))
    epsilon = unet(latent, residuals, torch.full((1, 1, 512, 512), mask))
    x0 = sampler.clean_latent(latent, epsilon)
    recorded = load_file(GOLDEN / f"tile_{name}.safetensors")
    check(x0, recorded["x0_prev_sample"], name)
    decoded = codec.decode(x0 / VAE_SCALE)[..., ::16, ::16]
    check(decoded, recorded["decoded_raw@s16"], "decoded")
    check(decoded.clamp(-1, 1), recorded["tile_out@s16"], "tile")


def test_regions_at_every_resolution():
    """The layouts that the released attention masks are made of, and one of the masks: -100 between regions."""
    recorded, mask = load_file(GOLDEN / "tile.safetensors"), grey("tile_mask.png")
    for side in (64, 32, 16, 8):
        layout = F.interpolate(mask, size=(side, side), mode="nearest")[0, 0] > 0.5
        assert torch.equal(layout, recorded[f"mask_layout_{side}x{side}"] > 0), side
    tokens = layout.flatten()
    assert torch.equal((tokens[:, None] == tokens).float()[None] * 100 - 100, recorded["mask_full_8x8"])


@pytest.mark.parametrize(("size", "positions"), MANIFEST["units"]["positions_512"].items())
def test_tile_positions(size, positions):
    height, width = map(int, size.split("x"))
    assert tiling.released_positions((height, width), 512, 256) == [tuple(p) for p in positions]


@pytest.mark.parametrize("case", MANIFEST["units"]["blend_small"], ids=lambda case: case["key"])
def test_blending(case):
    recorded = load_file(GOLDEN / "units.safetensors")
    image, out = (recorded[f"{case['key']}/{name}"] for name in ("image", "out"))
    positions = tiling.released_positions(image.shape[-2:], 16, 8)
    assert positions == [tuple(p) for p in case["positions"]]
    for tile, (top, left) in zip(recorded[f"{case['key']}/patches_in"], positions, strict=True):
        assert torch.equal(tile, image[..., top : top + 16, left : left + 16])
    check(tiling.blend(list(recorded[f"{case['key']}/patches_mod"]), positions, image.shape[-2:], 8), out, case["key"])


def test_colour_transfer():
    recorded = load_file(GOLDEN / "units.safetensors")
    source, target, out = (recorded[f"adain_small/{name}"].permute(2, 0, 1)[None] for name in ("source", "target", "out"))
    found = (match_mean_and_spread(target / 255, source / 255) * 255).byte()
    assert ((found.int() - out.int()).abs() > 0).float().mean() < 0.005 and (found.int() - out.int()).abs().max() <= 1


def test_the_schedule():
    assert sampler.alpha_at(999) == pytest.approx(MANIFEST["alphas_cumprod_999"], rel=1e-6)


@pytest.mark.slow
@torch.inference_mode()
def test_encoder_and_decoder(codec):
    recorded = load_file(GOLDEN / "tile.safetensors")
    lq = torch.from_numpy(np.array(Image.open(GOLDEN / "inputs" / "tile_lq.png"), dtype=np.float32)).permute(2, 0, 1)[None]
    pixels, noise = lq / 255 * 2 - 1, recorded["posterior_noise"]
    mean = codec.encode(pixels)
    check(mean, recorded["posterior_mean"], "mean")
    check(codec.encode(pixels, torch.ones_like(noise)) - mean, recorded["posterior_std"], "deviation")
    check(codec.encode(pixels, noise) * VAE_SCALE, recorded["lq_latent"], "latent")
    decoded = codec.decode(recorded["x0_prev_sample"] / VAE_SCALE)
    check(decoded[..., ::8, ::8], recorded["decoded_raw@s8"], "decoded")
    check(decoded.clamp(-1, 1)[..., ::8, ::8], recorded["tile_out@s8"], "tile")
    check(decoded.clamp(-1, 1)[..., 224:288, 224:288], recorded["tile_out_crop_224_288"], "part of the tile")


@pytest.mark.slow
@torch.inference_mode()
def test_the_whole_released_procedure(networks, codec, monkeypatch):
    recorded = load_file(GOLDEN / "pipeline.safetensors")
    image = (
        torch.from_numpy(np.array(Image.open(GOLDEN / "inputs" / "image.png"), dtype=np.float32)).permute(2, 0, 1)[None] / 255
    )
    defocus = (grey("depth_u8.png") - MANIFEST["pipeline"]["focus_value"]).abs() * MANIFEST["pipeline"]["K"] / 32
    check(defocus[..., ::8, ::8], recorded["disp_k@s8"], "defocus")
    seen = []
    regions = (defocus <= 0.1).float()
    arguments = codec, partial(sampler.predict, *networks), image, defocus, regions
    made = {"x0": [], "decoded": [], "blended": [], "masks": []}

    def keep(name, function, which=lambda out, *_: out):
        def call(*a, **k):
            out = function(*a, **k)
            made[name].append(which(out, *a))
            return out

        return call

    monkeypatch.setattr(codec, "decode", keep("decoded", codec.decode))
    monkeypatch.setattr("magicbokeh_ops.model.sampler.blend", keep("blended", tiling.blend))
    predict = keep("x0", keep("masks", arguments[1], lambda _, latent, hint, masks: masks))
    out, _ = sampler.render(
        codec,
        predict,
        *arguments[2:],
        preset="reference",
        noise=recorded["tile_noise"],
        progress=lambda done, total: seen.append((done, total)),
    )
    assert seen == [(i, 12) for i in range(13)]
    check(VAE_SCALE * torch.cat(made["x0"])[..., ::2, ::2], recorded["tile_x0@s2"], "x0 of the tiles")
    check(torch.cat(made["decoded"]).clamp(-1, 1)[..., ::16, ::16], recorded["tile_decoded@s16"], "decoded tiles")
    for i, masks in enumerate(made["masks"]):
        assert torch.equal(F.interpolate(masks, size=(64, 64), mode="nearest")[0, 0] > 0.5, recorded[f"tile_mask64_{i}"] > 0)
    (blended,) = made["blended"]
    check(blended[..., ::8, ::8], recorded["blended@s8"], "blended")
    check(blended[..., 288:352, 352:416], recorded["blended_crop"], "middle of the blended picture")
    before = ((blended[0] + 1) / 2 * 255).byte().permute(1, 2, 0)[::4, ::4].int()
    assert ((before - recorded["pre_color_fix_u8@s4"].int()).abs() <= 1).all()
    found, expected = (out[0].permute(1, 2, 0)[::2, ::2] * 255).byte().int(), recorded["final_u8@s2"].int()
    assert ((found - expected).abs() <= 1).float().mean() >= 0.999
    assert (found != expected).float().mean() < 0.01
    with pytest.raises(ValueError, match=r"noise has shape \(3, 4, 64, 64\)"):
        sampler.render(*arguments, preset="reference", noise=recorded["tile_noise"][:3])
