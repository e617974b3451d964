"""The model's nodes in a real ComfyUI, on small random weights in the released formats."""

import io
import time
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from magicbokeh_ops import defocus, sampler
from magicbokeh_ops.demo import NANO, NANO_LABEL
from magicbokeh_ops.model.network import ControlNet, UNet
from magicbokeh_ops.model.vae import make_codec, vae_of
from magicbokeh_ops.renderer import load_renderer
from magicbokeh_ops.weights import checkpoint
from tests.host.conftest import node
from tests.support.tiny_vae import Tiny

GOLDEN = Path(__file__).parents[1] / "parity" / "golden"
FOLDER = {"checkpoint": "lora.pkl", "base": "stable-diffusion-2-1-base"}
MERGED = {"checkpoint": "merged.safetensors", "base": "none (merged file)"}
FOCUS, K = 0.7, 24
SAMPLER = {"upscale": 1, "color_fix": "adain", "preset": "fast", "posterior_seed": -1}


def prompt(image="golden tile", disparity="golden tile", load=FOLDER, k=K, masked=True, output="image", **changes) -> dict:
    slot = ("image", "latent").index(output)
    return {
        "load": node("MagicBokehLoader", **load),
        "image": node("TestImage", kind=image),
        "disparity": node("TestMask", kind=disparity),
        "focus": node(
            "MagicBokehDefocusMap",
            disparity=["disparity", 0],
            k=k,
            focus_mode="value",
            focus_x=0.5,
            focus_y=0.5,
            focus=FOCUS,
        ),
        "mask": node("MagicBokehFocusMask", defocus=["focus", 0], threshold=0.1, smooth=0, min_area=0),
        "attention": node("MagicBokehMaskedAttention", model=["load", 0], focus_mask=["mask", 0]),
        "sample": node(
            "MagicBokehSampler",
            model=["attention" if masked else "load", 0],
            vae=["load", 1],
            image=["image", 0],
            defocus=["focus", 0],
            **{**SAMPLER, **changes},
        ),
        "probe": node("TestProbe", **{output: ["sample", slot]}),
    }


@pytest.fixture(scope="module")
def library():
    """The same step without ComfyUI."""
    weights = checkpoint.merge(checkpoint.read_base(GOLDEN / "sd"), checkpoint.read_adapter(GOLDEN / "lora.pkl"))
    networks = UNet(weights.config).eval(), ControlNet(weights.config).eval()
    for network, tensors in zip(networks, (weights.unet, weights.controlnet)):
        network.load_state_dict(tensors)
    return weights, vae_of(weights.vae), partial(sampler.predict, *networks)


def golden(name: str) -> torch.Tensor:
    picture = np.array(Image.open(GOLDEN / "inputs" / name).convert("RGB"), dtype=np.float32)
    return torch.from_numpy(picture).permute(2, 0, 1)[None] / 255


@pytest.mark.parametrize(
    ("area", "options"),
    [
        ("golden tile", {}),
        ("golden corner", {"upscale": 2, "color_fix": "wavelet"}),
        ("golden tile", {"posterior_seed": 5}),
        ("golden", {}),
        ("golden", {"preset": "reference"}),
    ],
    ids=["fast", "upscaled", "sampled", "more than 512 pixels", "reference"],
)
def test_nodes_give_what_the_library_gives(host, library, area, options):
    _, codec, predict = library
    side = {"golden tile": 512, "golden corner": 256}.get(area)
    crop = ... if side is None else (..., slice(64, 64 + side), slice(100, 100 + side))
    image, disparity = golden("image.png")[crop], golden("depth_u8.png")[:, :1][crop]
    blur = defocus.defocus_map(disparity, FOCUS, K)
    chosen = {**SAMPLER, **options}
    seed = chosen.pop("posterior_seed")
    with torch.inference_mode():
        expected, _ = sampler.render(
            codec, predict, image, blur, defocus.focus_mask(blur), seed=None if seed < 0 else seed, **chosen
        )
    asked = prompt(area, area, **options)
    asked["save"] = node("PreviewImage", images=["sample", 0])
    host.get("/test/previews")
    saved = host.run(asked)["outputs"]["save"]["images"][0]
    found = np.array(Image.open(io.BytesIO(host.image(saved))), dtype=int)
    shown = host.get("/test/previews")
    assert shown and all(width * found.shape[0] == height * found.shape[1] for _, width, height, _ in shown)
    wrong = np.abs(found - (expected[0].permute(1, 2, 0).numpy() * 255).astype(int))
    assert (wrong <= 1).mean() > 0.999


@pytest.mark.parametrize(
    ("image", "disparity", "changes", "shape"),
    [
        ("batch of 3", "ramp", {"upscale": 2}, [3, 96, 128, 3]),
        ("photo", "batch of 2", {"upscale": 2}, [2, 96, 128, 3]),
        ("rgba", "ramp", {"upscale": 1.5}, [1, 72, 96, 4]),
        ("half", "half", {"upscale": 2}, [1, 96, 128, 3]),
        ("odd", "small", {"upscale": 2}, [1, 74, 106, 3]),
        ("odd", "small", {"upscale": 2, "preset": "reference"}, [1, 74, 106, 3]),
        ("odd", "small", {"upscale": 2, "output": "latent"}, [1, 4, 10, 14]),
        ("odd", "small", {"upscale": 2, "preset": "reference", "output": "latent"}, [1, 4, 10, 14]),
    ],
)
def test_sampler_takes(host, image, disparity, changes, shape):
    result = host.found(prompt(image, disparity, load=MERGED, **changes))
    assert result["shape"] == shape and result["dtype"] == "torch.float32" and result["contiguous"]
    if len(shape) == 4 and shape[-1] < 5:
        assert result["low"] >= 0 and result["high"] <= 1


def test_a_latent_that_is_connected_later_is_there(host):
    """Of *reference*, which makes it only where it is used: what was cached without it does not serve."""
    options = {"load": MERGED, "upscale": 2, "preset": "reference"}
    host.found(prompt("odd", "small", **options))
    assert host.found(prompt("odd", "small", **options, output="latent"))["shape"] == [1, 4, 10, 14]


def test_every_option_reaches_the_sampler(host):
    plain = host.found(prompt("odd", "small", upscale=2))["row"]
    for changes in (
        {"color_fix": "wavelet"},
        {"color_fix": "none"},
        {"preset": "reference"},
        {"posterior_seed": 0},
        {"k": 0},
        {"masked": False},
    ):
        assert host.found(prompt("odd", "small", **{"upscale": 2, **changes}))["row"] != plain, changes


def test_all_ways_to_the_same_weights(host):
    """Folder, single file (whose heads are a guess for such small widths), merged file, file from a yaml's folder, saved file."""
    asked = prompt("odd", "small", upscale=2)
    asked["write"] = node(
        "MagicBokehSaveCheckpoint", model=["load", 0], vae=["load", 1], filename_prefix="magicbokeh/sub/saved"
    )
    row = host.found(asked)["row"]
    saved = checkpoint.load(host.base / "output" / "magicbokeh" / "sub" / "saved_00001_.safetensors")
    expected = checkpoint.load(host.base / "models" / "magicbokeh" / "merged.safetensors")
    for part in ("unet", "controlnet", "vae"):
        a, b = getattr(saved, part), getattr(expected, part)
        assert a.keys() == b.keys() and all(torch.equal(a[key], b[key]) for key in a), part
    for load in (
        MERGED,
        {**MERGED, "checkpoint": "from yaml.safetensors"},
        {**MERGED, "checkpoint": "sub/saved_00001_.safetensors"},
    ):
        assert host.found(prompt("odd", "small", upscale=2, load=load))["row"] == pytest.approx(row, abs=1e-5)
    single = {"checkpoint": "lora.pkl", "base": "v2-1_512-ema-pruned.safetensors"}
    found = [host.found(prompt("odd", "small", upscale=2, load={**single, **base})) for base in ({}, {"base": "automatic"})]
    assert found[0] == found[1] and found[0]["shape"] == [1, 74, 106, 3]


def test_networks_with_a_codec_of_their_own(host):
    """The kind that we train ourselves: through the nodes as through the library, saved, and through ComfyUI's VAE nodes."""
    load = {"checkpoint": "nano-like.safetensors", "base": "none (merged file)"}
    weights = checkpoint.load(host.base / "models" / "magicbokeh" / "nano-like.safetensors")
    networks = UNet(weights.config).eval(), ControlNet(weights.config).eval()
    for network, tensors in zip(networks, (weights.unet, weights.controlnet)):
        network.load_state_dict(tensors)
    image, disparity = golden("image.png")[..., 64:320, 100:356], golden("depth_u8.png")[:, :1, 64:320, 100:356]
    blur = defocus.defocus_map(disparity, FOCUS, K)
    with torch.inference_mode():
        expected, _ = sampler.render(
            make_codec(weights.vae), partial(sampler.predict, *networks), image, blur, defocus.focus_mask(blur)
        )
    assert (expected - image).abs().mean() > 0.02
    asked = prompt("golden corner", "golden corner", load=load)
    asked["write"] = node("MagicBokehSaveCheckpoint", model=["load", 0], vae=["load", 1], filename_prefix="magicbokeh/sub/nano")
    row = host.found(asked)["row"]
    assert row == pytest.approx(expected[0, :, 128].T.flatten().tolist()[: len(row)], abs=2e-3)
    saved = checkpoint.load(host.base / "output" / "magicbokeh" / "sub" / "nano_00001_.safetensors")
    for part in ("unet", "controlnet", "vae"):
        a, b = getattr(saved, part), getattr(weights, part)
        assert a.keys() == b.keys() and all(torch.equal(a[key], b[key]) for key in a), part
    assert saved.config == weights.config
    there_and_back = {
        "load": node("MagicBokehLoader", **load),
        "image": node("TestImage", kind="golden corner"),
        "encode": node("VAEEncode", pixels=["image", 0], vae=["load", 1]),
        "decode": node("VAEDecode", samples=["encode", 0], vae=["load", 1]),
        "probe": node("TestProbe", image=["decode", 0]),
    }
    assert host.found(there_and_back)["shape"] == [1, 256, 256, 3]
    assert "no posterior" in host.error(prompt("golden corner", "golden corner", load=load, posterior_seed=3))


def picture_of(host, asked) -> np.ndarray:
    """What the node *sample* gives, as a PNG of 8 bits."""
    asked = {**asked, "save": node("PreviewImage", images=["sample", 0])}
    return np.array(Image.open(io.BytesIO(host.image(host.run(asked)["outputs"]["save"]["images"][0]))), dtype=int)


def test_nano_is_the_same_in_nodes_and_command_line(host):
    """With what both do by default, on a picture that is larger than a tile used to be; by the other preset too."""
    load = {"checkpoint": f"{NANO_LABEL} (comes with the pack)", "base": "none (merged file)"}
    image, disparity = golden("image.png"), golden("depth_u8.png")[:, :1]
    blur = defocus.defocus_map(disparity, FOCUS, K)
    with torch.inference_mode():
        render = load_renderer(checkpoint.load(NANO), torch.device("cpu"), torch.float32)
        expected = render(image, blur, defocus.focus_mask(blur))[0]
    expected = (expected[0].permute(1, 2, 0).numpy() * 255).astype(int)
    for preset in sampler.PRESETS:
        found = picture_of(host, prompt("golden", "golden", load=load, preset=preset))
        assert np.abs(found - expected).max() <= 1, preset


def test_a_small_decoder_for_drafts(host, library):
    """ComfyUI's built-in TAESD on the vae input gives what the same model gives in the library."""
    _, _, predict = library
    image, disparity = golden("image.png")[..., 64:320, 100:356], golden("depth_u8.png")[:, :1, 64:320, 100:356]
    blur = defocus.defocus_map(disparity, FOCUS, K)
    tiny = Tiny(host.base / "models" / "vae_approx" / "taesd")
    with torch.inference_mode():
        expected, _ = sampler.render(tiny, predict, image, blur, defocus.focus_mask(blur), color_fix="none")
    asked = prompt("golden corner", "golden corner", color_fix="none")
    asked["draft"] = node("VAELoader", vae_name="taesd")
    asked["sample"]["inputs"]["vae"] = ["draft", 0]
    row = host.found(asked)["row"]
    assert expected.std() > 1e-3
    assert row == pytest.approx(expected[0, :, 128].T.flatten().tolist()[: len(row)], abs=2e-3)


def test_a_changed_setting_loads_nothing_again(host):
    host.found(prompt("odd", "small", upscale=2))
    before = len(host.log)
    asked = prompt("odd", "small", upscale=2, k=11.5)
    status = host.run(asked)["status"]
    cached = next(body["nodes"] for kind, body in status["messages"] if kind == "execution_cached")
    assert set(cached) == {"load", "image", "disparity"}
    assert not [line for line in host.log[before:].splitlines() if "load" in line.lower()]
    status = host.run(asked)["status"]
    assert set(next(body["nodes"] for kind, body in status["messages"] if kind == "execution_cached")) == set(asked)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"load": {**FOLDER, "base": "none (merged file)"}}, "needs Stable Diffusion 2.1-base; choose it as base"),
        ({"load": {**MERGED, "checkpoint": "broken.safetensors"}}, "broken.safetensors is damaged"),
        ({"image": "photo"}, "image is 64 x 48 pixels"),
        ({"image": "with NaN", "upscale": 2}, "image holds NaN"),
        ({"image": "batch of 3", "disparity": "batch of 2", "upscale": 2}, "defocus has 2 frames for 3 pictures"),
    ],
)
def test_bad_input_is_named(host, changes, message):
    error = host.error(prompt(**{"image": "odd", "disparity": "small", **changes}))
    assert message in error and len(error.splitlines()) == 1


def test_other_vaes_are_named(host):
    asked = prompt("odd", "small", upscale=2)
    asked["vae"] = node("VAELoader", vae_name="pixel_space")
    asked["sample"]["inputs"]["vae"] = ["vae", 0]
    assert "vae is of another family than the model" in host.error(asked)


@pytest.mark.parametrize(
    "bad", [{"checkpoint": "../../secret.pkl"}, {"base": "not there"}, {"checkpoint": "gone.safetensors", "base": "not there"}]
)
def test_missing_files_are_one_error(host, bad):
    """Of the node that lacks them, and not one for each file and for each node after it."""
    answer = host.post("/prompt", {"prompt": prompt("odd", "small", load={**FOLDER, **bad})})
    assert not answer["node_errors"]
    messages = host.result(answer["prompt_id"])["status"]["messages"]
    (error,) = (body for kind, body in messages if kind == "execution_error")
    assert error["node_id"] == "load"
    assert all(name in error["exception_message"] for name in bad.values())


def test_interrupt_within_one_tile(host):
    host.get("/test/progress")
    prompt_id = host.queue(prompt("golden", "golden", upscale=2.5))
    while not host.get("/test/progress"):
        time.sleep(0.05)
    assert host.get("/queue")["queue_running"], "the run was over before it could be stopped"
    host.post("/interrupt", {})
    status = host.result(prompt_id)["status"]
    assert "execution_interrupted" in [kind for kind, _ in status["messages"]]
    assert len(host.get("/test/progress")) <= 3  # of a hundred: a tile of the VAE, and what came before the interrupt
