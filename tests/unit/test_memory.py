"""Nodes on a device that is too small, full or shared."""

import logging
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tests.support import stand_in_host as host
from tests.support.memory_limit import MemoryLimit, limited

bokeh_model, devices, step = (sys.modules[f"pack.nodes.{name}"] for name in ("bokeh_model", "devices", "step"))
sampler = sys.modules["pack.magicbokeh_ops.sampler"]
Config = sys.modules["pack.magicbokeh_ops.model.network"].Config
mm = host.model_management
GIB = 2**30
GOLDEN = Path(__file__).parents[1] / "parity" / "golden"


class FirstStage(nn.Module):
    """Of a VAE: means of 8 x 8 pixels, with nearly all that differs between two pictures of the same size."""

    quant_conv = None

    def encode(self, x: Tensor) -> Tensor:
        return F.avg_pool2d(torch.cat([x, x[:, :1]], 1).repeat(1, 2, 1, 1), 8)[:, :4]

    def decode(self, z: Tensor) -> Tensor:
        picture = F.interpolate(z.repeat(1, 2, 1, 1), scale_factor=8, mode="bilinear")[:, :3]
        return picture + 0.1 * picture.std()  # as norms have it, a piece depends on its size


@pytest.fixture(scope="module")
def loaded():
    torch.manual_seed(0)
    model = bokeh_model.MagicBokeh(
        Config(channels=(8, 8), heads=(0, 1), layers=1, groups=4, rank=2, hint_channels=(4, 4, 4, 4)), nn
    ).eval()
    for parameter in model.parameters():
        parameter.requires_grad_(False)
        nn.init.normal_(parameter, std=0.02)
    vae = host.VAE({"pixel_space_vae": torch.ones(())})
    vae.first_stage_model, vae.latent_channels = FirstStage(), 4
    vae.downscale_ratio = vae.upscale_ratio = 8
    return bokeh_model.BokehModel(host.ModelPatcher(model, host.CPU, host.CPU), model.unet.config, torch.float32, {}, {}), vae


@pytest.fixture
def loads(monkeypatch):
    """What was loaded: the first model, and the room that was asked for beside it."""
    found = []
    monkeypatch.setattr(mm, "load_models_gpu", lambda models, room=0, **_: found.append((models[0], room)))
    return found


@pytest.fixture
def freed(monkeypatch):
    found = []
    monkeypatch.setattr(mm, "unload_all_models", lambda: found.append(1))
    return found


def sample(loaded, size=(64, 96), frames=1, **options):
    photo = torch.rand(frames, *size, 3, generator=torch.Generator().manual_seed(0))
    ramp = torch.linspace(0, 1, size[1]).expand(1, *size)
    picture, latent = host.run(host.nodes.Sampler, model=loaded[0], vae=loaded[1], image=photo, defocus=ramp, **options)
    return picture, latent and latent["samples"]


def fail_after(monkeypatch, owner, name, fails):
    """Let a method run out of memory where fails(first tensor) says so. Returns the shapes it was called with, and whether it failed."""
    calls, method = [], getattr(owner, name)

    def limited(x, *args, **options):
        calls.append((tuple(x.shape[-2:]), bool(fails(x))))
        if calls[-1][1]:
            raise torch.OutOfMemoryError("pretended")
        return method(x, *args, **options)

    monkeypatch.setattr(owner, name, limited)
    return calls


@pytest.mark.parametrize("preset", sampler.PRESETS)
def test_a_vae_that_does_not_fit_goes_on_in_smaller_pieces(loaded, preset, freed, monkeypatch):
    """Wherever in it memory runs out. Nothing but the piece is done again, and no later piece fails first."""
    whole, latent = sample(loaded, preset=preset)
    vae = loaded[1].first_stage_model
    with torch.inference_mode(), MemoryLimit() as seen:
        vae.decode(torch.zeros(1, 4, 64, 64))
    monkeypatch.setattr(vae, "decode", limited(vae.decode, lambda: seen.largest // 2))
    decoded = fail_after(monkeypatch, vae, "decode", lambda _: False)
    predicted = fail_after(monkeypatch, loaded[0].patcher.model.unet, "forward", lambda _: False)
    smaller, latent_of_smaller = sample(loaded, preset=preset, frames=2)
    assert smaller.shape[1:] == whole.shape[1:] and latent_of_smaller.shape[1:] == latent.shape[1:]
    assert 0 < (smaller[:1] - whole).abs().mean() < 0.05
    assert len(predicted) == 2
    assert [size for size, _ in decoded].count((64, 64)) == 2 and len(freed) == 2


@pytest.mark.parametrize("preset", sampler.PRESETS)
def test_what_fits_after_all_was_freed_is_the_same(loaded, preset, freed, monkeypatch):
    whole, _ = sample(loaded, preset=preset)
    vae, unet = loaded[1].first_stage_model, loaded[0].patcher.model.unet
    calls = []
    for owner, name in ((vae, "encode"), (vae, "decode"), (unet, "forward")):
        calls.append(fail_after(monkeypatch, owner, name, lambda _, mine=len(calls): not calls[mine]))
    again, _ = sample(loaded, preset=preset)
    assert torch.equal(again, whole) and len(freed) == 3
    assert all(any(failed for _, failed in some) for some in calls)


def test_networks_that_do_not_fit_predict_smaller_tiles(loaded, monkeypatch, caplog):
    whole, _ = sample(loaded, frames=2)
    calls = fail_after(monkeypatch, loaded[0].patcher.model.unet, "forward", lambda x: max(x.shape[-2:]) > 40)
    with caplog.at_level(logging.WARNING):
        smaller, _ = sample(loaded, frames=2)
    assert 0 < (smaller - whole).abs().mean() < 0.05
    assert [failed for _, failed in calls].count(True) == 2  # and none in the second frame
    assert len([one for one in caplog.records if "out of memory" in one.message]) == 1


@pytest.mark.parametrize(("preset", "tries"), [("fast", 6), ("reference", 2)])
def test_networks_that_never_fit_end_in_a_sentence(loaded, preset, tries, freed, monkeypatch):
    calls = fail_after(monkeypatch, loaded[0].patcher.model.unet, "forward", lambda _: True)
    with pytest.raises(MemoryError, match="too little memory for MagicBokeh's networks; close .* --novram") as error:
        sample(loaded, preset=preset)
    assert len(str(error.value).splitlines()) == 1
    assert len(calls) == tries and len(freed) >= tries / 2


def test_a_vae_that_never_fits_ends_in_a_sentence(loaded, monkeypatch):
    encoded = fail_after(monkeypatch, loaded[1].first_stage_model, "encode", lambda _: True)
    with pytest.raises(MemoryError, match="the VAE even in pieces of 256 pixels; .* --cpu-vae"):
        sample(loaded)
    assert {size for size, _ in encoded} >= {(512, 512), (256, 256)}


def test_errors_of_another_kind_pass(loaded, freed, monkeypatch):
    monkeypatch.setattr(loaded[1].first_stage_model, "decode", lambda _: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        sample(loaded)
    assert not freed


@pytest.mark.parametrize(
    ("error", "known"),
    [
        (torch.OutOfMemoryError(), True),
        (RuntimeError("MPS backend out of memory (MPS allocated: 8.00 GB)"), True),
        (RuntimeError("[enforce fail at alloc_cpu.cpp:117] err == 0. DefaultCPUAllocator: can't allocate memory"), True),
        (RuntimeError("DefaultCPUAllocator: not enough memory: you tried to allocate 10 bytes."), True),
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"), True),
        (RuntimeError("Invalid buffer size: 19.38 GiB"), True),
        (RuntimeError("Could not allocate tensor with 1024 bytes. There is not enough GPU video memory available!"), True),
        (RuntimeError("Native API failed. Native API returns: 39 (UR_RESULT_ERROR_OUT_OF_DEVICE_MEMORY)"), True),
        (RuntimeError("Native API failed. Native API returns: -5 (PI_ERROR_OUT_OF_RESOURCES)"), True),
        (RuntimeError("miopenStatusAllocFailed"), True),
        (RuntimeError("HIP error: hipErrorOutOfMemory"), True),
        (RuntimeError("The size of tensor a (3) must match the size of tensor b (4)"), False),
        (ValueError("out of memory"), False),
    ],
)
def test_every_device_says_it_in_its_own_words(error, known):
    assert devices.is_oom(error) == known


@pytest.mark.parametrize("preset", sampler.PRESETS)
def test_models_are_loaded_when_their_turn_comes(loaded, loads, preset):
    """Not for every tile, of which there are several here."""
    frames = 2
    sample(loaded, (64, 800), frames, preset=preset)
    model, vae = loaded[0].patcher, loaded[1].patcher
    turns = [patcher for patcher, _ in loads]
    merged = [one for i, one in enumerate(turns) if i == 0 or turns[i - 1] is not one]
    assert merged == [vae, *[model, vae] * frames] if preset == "reference" else [vae, model, vae] * frames
    assert len(turns) <= (4 * frames if preset == "reference" else 3 * frames)


def tile_on(card, monkeypatch, vae):
    monkeypatch.setattr(mm, "get_total_memory", lambda _device: card * GIB)
    return step.WholeCodec(vae, step.Turns()).largest_tile()


def test_tiles_of_the_vae_follow_from_the_card(loaded, monkeypatch):
    vae = SimpleNamespace(**vars(loaded[1]))
    vae.vae_dtype = torch.bfloat16
    sides = {card: tile_on(card, monkeypatch, vae) for card in (1, 6, 16, 24, 80, 192)}
    assert sides[6] == int((0.6 * 6 * GIB / vae.memory_used_decode((1, 4, 1, 1), torch.bfloat16)) ** 0.5)
    assert sides[1] < sides[6] < sides[16] < sides[24] <= sides[80] == sides[192] == 2048 // 8
    for card, side in sides.items():
        scores = 3 * 2 * side**4
        assert max(scores, vae.memory_used_decode((1, 4, side, side), torch.bfloat16)) <= 0.6 * card * GIB


def test_room_is_asked_for_with_the_attention_in_it(loaded, loads):
    """Of a picture so large that attention takes more than what ComfyUI counts with."""
    vae = SimpleNamespace(**vars(loaded[1]))
    vae.memory_used_decode = vae.memory_used_encode = lambda *_: 1000
    vae.first_stage_model = SimpleNamespace(quant_conv=None, decode=lambda z: z, encode=lambda x: x)
    codec = step.WholeCodec(vae, step.Turns())
    codec.decode(torch.zeros(1, 4, 100, 50))
    codec.encode(torch.zeros(1, 3, 1600, 400), None)
    assert [room for _, room in loads] == [3 * 4 * 5000**2, 3 * 4 * 10000**2]


def test_what_others_hold_is_asked_before(monkeypatch):
    """What ComfyUI's own models hold can be freed and makes no difference, what it leaves to others is theirs."""
    card, other = torch.device("cuda", 0), torch.device("cuda", 1)
    wanted, needed = sampler.Budget(32, 256), lambda budget: budget.codec_tile**2 * GIB // 2**14  # 4 GiB, then 1
    free = {"bytes": 8 * GIB, "held": 0}
    models = [
        SimpleNamespace(device=card, model_loaded_memory=lambda: free["held"]),
        SimpleNamespace(device=other, model_loaded_memory=lambda: 50 * GIB),
    ]
    monkeypatch.setattr(mm, "current_loaded_models", models, raising=False)
    monkeypatch.setattr(mm, "get_free_memory", lambda device: free["bytes"])
    monkeypatch.setattr(mm, "extra_reserved_memory", lambda: GIB, raising=False)
    sides = []
    for free["bytes"], free["held"] in ((8 * GIB, 0), (GIB, 7 * GIB), (4 * GIB, 0), (2 * GIB, 0), (0, 0)):
        sides.append(step.halved_to_fit(wanted, needed, card).codec_tile)
    assert sides == [256, 256, 128, 128, 32]
    assert step.halved_to_fit(wanted, needed, torch.device("cpu")).codec_tile == 256


def test_a_value_is_never_lost_behind_a_picture(loaded, monkeypatch):
    """Newer ComfyUI drops a value that comes within 0.1 s of a picture: no value may come twice, with and without one."""
    sent = []
    update = host.ProgressBar.update_absolute
    monkeypatch.setattr(
        host.ProgressBar,
        "update_absolute",
        lambda bar, value, total=None, preview=None: sent.append((value, preview)) or update(bar, value, total, preview),
    )
    monkeypatch.setattr(sys.modules["pack.nodes.progress"], "ProgressBar", host.ProgressBar)
    sample(loaded)
    values = [value for value, _ in sent]
    assert values == sorted(set(values)) == [0, 33, 66, 100]
    assert [preview is not None for _, preview in sent] == [False, False, True, False]


def test_previews_are_set_up_once_and_small(loaded, monkeypatch):
    seen, made = [], []

    class Decoder:
        def __init__(self, *_):
            made.append(1)

        def decode_latent_to_preview(self, latent):
            seen.append(tuple(latent.shape))
            raise torch.OutOfMemoryError("pretended")

    monkeypatch.setattr(sys.modules["latent_preview"], "get_previewer", Decoder)
    with_previews, _ = sample(loaded, (64, 800), frames=2)
    assert len(made) == 1 and seen and all(max(shape[-2:]) == 64 for shape in seen)
    assert with_previews.shape == (2, 64, 800, 3)


@pytest.mark.parametrize("error", [RuntimeError("taesd is damaged"), FileNotFoundError("taesd"), KeyError("decoder")])
def test_a_previewer_that_can_not_be_had_ends_no_run(loaded, monkeypatch, caplog, error):
    plain, _ = sample(loaded)

    def fail(*_):
        raise error

    monkeypatch.setattr(sys.modules["latent_preview"], "get_previewer", fail)
    assert torch.equal(sample(loaded)[0], plain)
    assert caplog.text.count("previews in coarse colours") == 1


def test_edges_are_refined_on_the_cpu_if_the_card_is_too_small(monkeypatch, caplog):
    """The card is pretended: the CPU under another name, which has no memory."""
    used, refine_edges = [], devices.refine.refine_edges

    def refine_on(photo, disparity, reach, report, device):
        used.append(device.type)
        if device.type != "cpu":
            raise torch.OutOfMemoryError("pretended")
        return refine_edges(photo, disparity, reach, report, device)

    photo = torch.rand(1, 3, 40, 50)
    disparity = torch.linspace(0, 1, 50).expand(1, 1, 40, 50)
    expected = refine_edges(photo, disparity, 2)
    monkeypatch.setattr(devices.refine, "refine_edges", refine_on)
    monkeypatch.setattr(devices, "compute_device", lambda *_: torch.device("meta"))
    for _ in range(2):
        assert torch.equal(devices.refined(photo, disparity, 2, lambda *_: None), expected)
    assert used == ["meta", "cpu"] * 2 and caplog.text.count("too little memory to refine edges") == 1


def test_a_depth_network_that_never_fits_ends_in_a_sentence(monkeypatch):
    model = host.nodes.depth.load_depth_model(GOLDEN / "depth" / "DAdepth_tiny.pth")

    def fail(*_):
        raise torch.OutOfMemoryError("pretended")

    monkeypatch.setattr(host.nodes.depth_model.depth, "disparity", fail)
    with pytest.raises(MemoryError, match="^There is too little memory for the depth model at an input_size of 56; lower it.$"):
        host.run(host.nodes.FindDisparity, depth_model=model, image=torch.rand(1, 60, 70, 3), input_size=56)


def test_weights_keep_16_bits(monkeypatch, caplog):
    """The step divides errors by 0.068, so that fp8 costs 24 dB of fidelity. Said once."""
    bokeh_model.weight_dtype.cache_clear()
    monkeypatch.setattr(mm, "unet_dtype", lambda *_: torch.float8_e4m3fn)
    with caplog.at_level(logging.INFO):
        assert {bokeh_model.weight_dtype() for _ in range(2)} == {torch.float16}
    assert len(caplog.records) == 1 and "float8_e4m3fn" in caplog.text
    bokeh_model.weight_dtype.cache_clear()
    monkeypatch.setattr(mm, "unet_dtype", lambda *_: torch.bfloat16)
    assert bokeh_model.weight_dtype() == torch.bfloat16
    bokeh_model.weight_dtype.cache_clear()


def test_a_latent_that_nobody_uses_costs_nothing(loaded, monkeypatch):
    """Of *reference*, which encodes its picture for it; in a prompt of its own for each."""
    links = sys.modules["pack.nodes.links"]
    encoded = fail_after(monkeypatch, loaded[1].first_stage_model, "encode", lambda _: False)
    counts, used = {}, {}
    for preset, linked in ((p, linked) for p in ("fast", "reference") for linked in (False, True)):
        nodes = {
            "s": {"class_type": "MagicBokehSampler", "inputs": {"preset": preset, "image": ["i", 1]}},
            "i": {"class_type": "LoadImage", "inputs": {"image": "a.png"}},
            "p": {"class_type": "SaveLatent", "inputs": {"samples": ["s", 1 if linked else 0]}},
        }
        prompt = links.note_used_outputs({"prompt": nodes})["prompt"]
        used[preset, linked] = prompt["s"]["inputs"].get("latent_is_used")
        monkeypatch.setattr(host.nodes.Sampler, "hidden", SimpleNamespace(prompt=prompt, unique_id="s"))
        before = len(encoded)
        _, latent = sample(loaded, (64, 64), preset=preset)
        counts[preset, linked] = len(encoded) - before
        assert (latent is None) == (preset == "reference" and not linked)
    assert counts == {("fast", False): 1, ("fast", True): 1, ("reference", False): 1, ("reference", True): 2}
    assert used == {("fast", False): None, ("fast", True): None, ("reference", False): False, ("reference", True): True}
    for odd in ({"number": 1}, {"prompt": None}, {"prompt": {"1": None, "2": {"class_type": "MagicBokehSampler"}}}):
        assert links.note_used_outputs(odd) == odd
    for hidden in (SimpleNamespace(prompt=None, unique_id=None), SimpleNamespace(prompt=prompt, unique_id="s.0.0.1")):
        assert links.is_used("latent", hidden)
