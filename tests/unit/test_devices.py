"""On devices that lack what Apple's, Intel's and DirectML's lack, everything runs, and gives what it gives on the CPU."""

import copy
from functools import cache

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from magicbokeh_ops import depth, lens, matting, sampler
from magicbokeh_ops.aperture import Aperture
from magicbokeh_ops.depth import refine
from tests.support import network_calls
from tests.support import stand_in_host as host
from tests.support.fake_device import BACK_ENDS, DEVICE, FakeDevice, OnDevice
from tests.support.layouts import photo, plane, random, values_in
from tests.unit import test_node_strides, test_strides

# What runs on Apple's runs on Arc: see the first test.
TRIED = ["mps", "directml"]
on_all = pytest.mark.parametrize("back_end", TRIED)

# Networks that lie on the CPU, and what only the command line does: evaluation on the CPU, training on CUDA.
ELSEWHERE = ("model.strips.", "evaluation.", "files.", "synthesis.", "training.", "video.")
# With Fourier transforms, which nodes give to the CPU where they can't be.
FOURIER = [
    (name, "directml")
    for name in (
        "lens.render.render",
        "lens.render, all it can do",
        "lens.render, matte and plate",
        "model.method.predict, residual",
        "model.nano.lens_blur",
        "grain.add",
    )
]
CASES = [(name, back_end) for name in test_strides.CASES for back_end in TRIED if not name.startswith(ELSEWHERE)]


def same(found, expected, rounding: float = 1e-6) -> None:
    found, expected = values_in(found), values_in(expected)
    assert len(found) == len(expected)
    for one, other in zip(found, expected):
        one = one.cpu() if isinstance(one, Tensor) else one
        torch.testing.assert_close(one, other, atol=rounding, rtol=10 * rounding)


# The rig


def test_arc_lacks_nothing_that_apple_has():
    apple, arc = BACK_ENDS["mps"], BACK_ENDS["xpu"]
    assert arc.dtypes <= apple.dtypes and arc.operations <= apple.operations and not arc.conditions


@pytest.mark.parametrize(
    ("back_end", "work"),
    [
        ("mps", lambda x: F.interpolate(x, size=(3, 4), mode="area")),
        ("mps", lambda x: F.interpolate(x, size=(3, 4), mode="bilinear", antialias=True)),
        ("mps", lambda x: x.flatten().kthvalue(3)),
        ("mps", lambda x: x.clone().index_copy_(0, torch.zeros(1, dtype=torch.long, device=x.device), x[:1])),
        ("mps", lambda x: x.double()),
        ("mps", lambda x: torch.arange(3, dtype=torch.float64).to(x.device)),
        ("xpu", lambda x: torch.zeros(3, dtype=torch.float64, device=x.device)),
        ("xpu", lambda x: x.new_tensor([1.0], dtype=torch.float64)),
        ("directml", lambda x: torch.fft.rfft2(x)),
        ("directml", lambda x: torch.complex(x, x)),
        ("directml", lambda x: x + x.cpu()),
        ("xpu", lambda x: torch.cat([x, torch.rand(1, 3, 7, 8)])),
    ],
)
@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_what_a_device_lacks_is_refused(back_end, work, mode):
    with mode(), FakeDevice(back_end) as device, pytest.raises((RuntimeError, NotImplementedError, TypeError)):
        work(photo(1, 7, 8).to(device))


def test_what_a_device_has_runs_on_it():
    x = photo(1, 8, 8)
    with torch.inference_mode(), FakeDevice("mps") as device:
        moved = x.to(device)
        assert moved.device == device and isinstance(moved * 2, OnDevice) and moved.tolist() == x.tolist()
        moved[:, :, 2:4] = torch.tensor(0.5)  # through a view
        assert (moved.cpu()[:, :, 2:4] == 0.5).all() and moved.cpu().double().dtype == torch.float64
        same(F.interpolate(moved, size=(4, 2), mode="area"), F.interpolate(moved.cpu(), size=(4, 2), mode="area"))


# The library


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "back_end"),
    [
        pytest.param(*case, marks=pytest.mark.long if case[0] == "lens.render, all it can do" else ())
        for case in CASES
        if case not in FOURIER
    ],
)
@torch.inference_mode()
def test_functions(name, back_end):
    call, inputs = test_strides.CASES[name]
    expected = call(*(x.clone() for x in inputs))
    mode = FakeDevice(back_end)
    with mode as device:
        same(call(*(x.to(device) for x in inputs)), expected, network_calls.ROUNDING.get(name, 1e-6))
    assert mode.seen


@pytest.mark.slow
@on_all
@torch.inference_mode()
def test_networks_on_the_device(back_end):
    pair, finder = (network_calls.UNET, network_calls.CONTROLNET), network_calls.DEPTH
    z, hint, mask = random(2, 4, 8, 16), plane(2, 64, 128), (plane(2, 64, 128) > 0.4).float()
    expected = sampler.predict(*pair, z, hint, mask), depth.disparity(finder, photo(), 56)
    with FakeDevice(back_end) as device:
        pair, finder = ([copy.deepcopy(network).to(device) for network in pair], copy.deepcopy(finder).to(device))
        same(sampler.predict(*pair, z, hint, mask, device), expected[0], 1e-4)
        same(depth.disparity(finder, photo(), 56), expected[1], 1e-5)


LOOKS = {
    "wide, iris": (40.0, {"aperture": Aperture(blades=6, rotation=10, roundness=0.3, squeeze=1.5), "highlight_boost": 2.0}),
    "cat eye": (2.0, {"aperture": Aperture(cat_eye=0.7), "near_scale": 0.5, "far_scale": 2.0}),
}


@pytest.mark.slow
@pytest.mark.parametrize("look", ["wide, iris", pytest.param("cat eye", marks=pytest.mark.long)])
@torch.inference_mode()
def test_lens(look):
    k, options = LOOKS[look]
    image, disparity = photo(1, 61, 70), plane(1, 30, 35)
    expected = lens.render(image, disparity, 0.4, k, **options)
    mode, shown = FakeDevice("mps"), []
    with mode as device:

        def show(picture: Tensor) -> None:
            shown.append(host.nodes.progress.to_thumbnail(picture).size)

        same(lens.render(image.to(device), disparity.to(device), 0.4, k, show=show, **options), expected, 1e-5)
    assert set(shown) == {(70, 61)} and any("fft" in name for name in mode.seen)


@on_all
@torch.inference_mode()
def test_refined_edges_are_worked_on_where_one_says(back_end):
    image, disparity = photo(2), plane(1)
    expected = refine.refine_edges(image, disparity, 2)
    mode = FakeDevice(back_end)
    with mode as device:
        found = refine.refine_edges(image, disparity, 2, device=device)
        assert found.device == image.device and torch.equal(found, expected)
    assert {"index_select", "exp", "sigmoid"} <= mode.seen


@on_all
@torch.inference_mode()
def test_a_matte_is_found_where_one_says(back_end):
    image, disparity, mask = photo(2), plane(1), (plane(1) > 0.3).float()
    expected = [matting.from_disparity(image, disparity, given) for given in (None, mask)]
    mode = FakeDevice(back_end)
    with mode as device:
        found = [matting.from_disparity(image, disparity, given, device=device) for given in (None, mask)]
        assert all(one.device == image.device and torch.equal(one, other) for one, other in zip(found, expected))
    assert "maximum" in mode.seen


# Nodes


def lens_blur(image: Tensor, disparity: Tensor):
    return test_node_strides.run(host.nodes.LensBlur, image=image, disparity=disparity, k=5.0)


def sweep(image: Tensor, disparity: Tensor):
    return test_node_strides.run(host.nodes.Sweep, image=image, disparity=disparity, k_from=2.0, k_to=6.0, frames=2)


NODES = test_node_strides.CASES | {
    "MagicBokehLensBlur": (lens_blur, [photo(1, 150, 523), plane(1, 50, 174)]),
    "MagicBokehSweep": (sweep, [photo(1), plane(1)]),
}


@cache
@torch.inference_mode()
def on_the_cpu(name: str) -> list:
    call, inputs = NODES[name]
    return values_in(call(*(x.clone() for x in inputs)))


@pytest.fixture
def machine(request, monkeypatch):
    """A host whose card is a fake device, which pictures between nodes lie on too if it was started with --gpu-only."""
    name, back_end, gpu_only = request.param
    mm, nodes, expected = host.model_management, host.nodes, on_the_cpu(name)

    def load(models, *_, **__):
        for patcher in models:
            patcher.model.to(patcher.load_device)

    monkeypatch.setattr(mm, "get_torch_device", lambda: DEVICE)
    monkeypatch.setattr(mm, "intermediate_device", lambda: DEVICE if gpu_only else host.CPU)
    monkeypatch.setattr(mm, "load_models_gpu", load)
    monkeypatch.setattr(mm, "current_loaded_models", [], raising=False)
    monkeypatch.setattr(mm, "extra_reserved_memory", lambda: 0, raising=False)
    if back_end != "directml":
        for module in (nodes.devices, nodes.step):
            monkeypatch.setattr(module, "has_complex_numbers", lambda device: True)
    monkeypatch.setattr(test_node_strides, "MODEL", nodes.bokeh_model.load_model(test_node_strides.WEIGHTS))
    finder = nodes.depth_model.DepthAnything(copy.deepcopy(network_calls.DEPTH))
    monkeypatch.setattr(test_node_strides, "DEPTH_MODEL", nodes.depth_model.DepthModel(nodes.devices.patcher(finder)))
    call, inputs = NODES[name]
    rounding = 2.1 / 255 if "reference" in name else 2e-4  # it is cut to 8 bits, and coded in -1..1
    return call, inputs, lambda found: same(found, expected, rounding), FakeDevice(back_end), gpu_only


MACHINES = [(name, *card) for name in NODES for card in (("mps", False), ("mps", True), ("directml", True))]


@pytest.mark.slow
@pytest.mark.parametrize(
    "machine",
    [pytest.param(one, marks=pytest.mark.long if one[0].startswith("MagicBokehSampler,") else ()) for one in MACHINES],
    indirect=True,
    ids=lambda machine: "-".join(map(str, machine)),
)
@torch.inference_mode()
def test_nodes(machine):
    call, inputs, check, mode, gpu_only = machine
    with mode as device:
        check(call(*(x.to(device) if gpu_only else x.clone() for x in inputs)))
