"""Clips: what is asked of all frames is exact, and no node holds more than its outputs and some frames."""

import math
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from magicbokeh_ops import clips, defocus, depth
from tests.support import stand_in_host as host
from tests.support.memory_peak import peak_of

load_depth_model = host.nodes.depth_model.load_depth_model
DEPTH = Path(__file__).parents[1] / "parity" / "golden" / "depth" / "DAdepth_tiny.pth"
HEIGHT, WIDTH = 240, 320
FRAME = 4 * HEIGHT * WIDTH  # bytes of a map


def values_of(seed: int, kind: str) -> torch.Tensor:
    drawn = torch.randn(3, 1, 7, 11, generator=torch.Generator().manual_seed(seed))
    return {"any": drawn, "few": drawn.round(), "tiny": drawn * 1e-42, "huge": drawn * 1e38, "equal": drawn * 0}[kind]


@pytest.mark.long
@given(st.integers(0, 99), st.sampled_from(["any", "few", "tiny", "huge", "equal"]), st.floats(0, 1))
def test_values_by_rank_are_those_of_a_sort(seed, kind, share):
    values = values_of(seed, kind)
    ordered = values.flatten().sort().values
    assert clips.lower_median(lambda: values) == ordered[(len(ordered) - 1) // 2]
    assert clips.percentiles(lambda: values, share, 0.5) == [ordered[round(part * (len(ordered) - 1))] for part in (share, 0.5)]
    assert clips.extremes(lambda: values) == (ordered[0], ordered[-1])


def test_nothing_has_no_median():
    assert clips.lower_median(lambda: [torch.rand(0), torch.rand(0)]) is None


@pytest.mark.parametrize("bad", [math.inf, -math.inf, math.nan])
def test_what_is_not_finite_is_found_in_any_frame(monkeypatch, bad):
    monkeypatch.setattr(clips, "PART", 10)
    values = torch.rand(3, 2, 5, 7).transpose(2, 3)
    assert clips.is_finite(values)
    values[2, 1, 6, 3] = bad
    assert not clips.is_finite(values)


def test_focus_of_frames_that_are_resized_one_at_a_time():
    near, mask = torch.rand(3, 1, 30, 40), (torch.rand(3, 1, 50, 67) > 0.7).float()
    size = (60, 80)
    whole = defocus.resize(near, size)
    for find, where in (
        (defocus.focus_from_mask, (mask,)),
        (defocus.focus_from_point, (0.3, 0.6)),
        (defocus.focus_from_box, (0.1, 0.2, 0.7, 0.9)),
        (defocus.focus_on_nearest, ()),
    ):
        assert find(near, *where, size=size) == find(whole, *where)


def clip(frames: int, channels: int | None = 3) -> torch.Tensor:
    torch.manual_seed(0)
    return torch.rand(frames, HEIGHT, WIDTH) if channels is None else torch.rand(frames, HEIGHT, WIDTH, channels)


def beyond_outputs(node: type, count: int, inputs: dict) -> int:
    """Bytes that a node holds at most beyond its inputs and outputs, with inputs of so many frames."""
    given = {name: make(count) if callable(make) else make for name, make in inputs.items()}
    done = []
    peak = peak_of(lambda: done.append(host.run(node, **given)))
    results = [one["samples"] if isinstance(one, dict) else one for one in done[0]]
    return peak - sum(one.nbytes for one in results if isinstance(one, torch.Tensor))


def image(frames: int) -> torch.Tensor:
    return clip(frames)


def rgba(frames: int) -> torch.Tensor:
    return clip(frames, 4)


def near(frames: int) -> torch.Tensor:
    return clip(frames, None)


def small(frames: int) -> torch.Tensor:
    return clip(frames, None)[:, ::2, ::2]


def grey(frames: int) -> torch.Tensor:
    return near(frames)[..., None].expand(-1, -1, -1, 3)


DISTANCE = "distance (in any unit)"
CASES = {
    "defocus map": ("DefocusMap", {"disparity": near, "image": image}),
    "defocus map, no photo": ("DefocusMap", {"disparity": near}),
    "defocus map, other size": ("DefocusMap", {"disparity": small, "image": image}),
    "defocus map, mask": ("DefocusMap", {"disparity": near, "image": image, "focus_mode": "mask", "focus_mask": near}),
    "defocus map, one map": ("DefocusMap", {"disparity": near(1), "image": image}),
    "defocus map, nearest": ("DefocusMap", {"disparity": near, "focus_mode": "nearest subject"}),
    "disparity": ("DisparityFrom", {"depth": near}),
    "disparity, distance": ("DisparityFrom", {"depth": lambda count: 1 + near(count), "convention": DISTANCE}),
    "disparity, geometry": ("DisparityFrom", {"depth": lambda count: {"depth": 1 + near(count), "sky": near(count)}}),
    "disparity, grey picture": ("DisparityFrom", {"depth": grey, "convention": "depth (near = black)"}),
    "disparity, in the photo's size": ("DisparityFrom", {"depth": small, "image": image, "normalize": "minmax"}),
    "disparity, one map": ("DisparityFrom", {"depth": near(1), "image": image}),
    "camera": ("Camera", {"depth": lambda count: 1 + near(count)}),
    "focus mask": ("FocusMask", {"defocus": near, "smooth": 3, "min_area": 0.01}),
    "matte": ("MatteFromDisparity", {"disparity": near, "image": image, "reach": 0}),
}


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES)
def test_a_node_holds_its_outputs_and_some_frames(case):
    name, inputs = CASES[case]
    check(getattr(host.nodes, name), inputs)


@pytest.mark.parametrize(
    "case", ["defocus map", "defocus map, mask", "focus mask", "disparity, grey picture", "disparity, one map"]
)
def test_so_does_a_node_in_half_precision(monkeypatch, case):
    monkeypatch.setattr(host.model_management, "intermediate_dtype", lambda: torch.float16)
    name, inputs = CASES[case]
    halved = {key: (lambda count, make=make: make(count).half()) if callable(make) else make for key, make in inputs.items()}
    check(getattr(host.nodes, name), halved)


def check(node: type, inputs: dict) -> None:
    few, many = (beyond_outputs(node, count, inputs) for count in (8, 24))
    assert many - few < FRAME, (few, many)


# What is done to single frames takes more than some frames' memory, so here next to nothing is done.


def with_alpha(photo, *_settings, alpha=None, **_options):
    return photo.clone() if alpha is None else torch.cat([photo, alpha], 1)


@pytest.mark.parametrize("inputs", [{"image": image, "disparity": near}, {"image": rgba, "disparity": near(1)}])
def test_the_lens_holds_its_pictures(monkeypatch, inputs):
    monkeypatch.setattr(host.nodes.lens.lens, "render", with_alpha)
    check(host.nodes.LensBlur, inputs)
    frames = {"image": inputs["image"](1), "disparity": near(1), "frames": lambda count: count}
    check(host.nodes.Sweep, frames)


def test_the_sampler_holds_its_pictures_and_latents(monkeypatch):
    class Twice:
        def __init__(self, _model, _vae):
            pass

        def render(self, *_options, image, **_more):
            return image.repeat_interleave(2, -2).repeat_interleave(2, -1), torch.zeros(1, 4, HEIGHT // 4, WIDTH // 4)

    monkeypatch.setattr(host.nodes.model, "OneStep", Twice)
    for model in (SimpleNamespace(focus_mask=None), SimpleNamespace(focus_mask=near(1))):
        check(host.nodes.Sampler, {"model": model, "vae": None, "image": rgba, "defocus": near})


@pytest.mark.long
def test_steadying_holds_its_maps_and_what_it_looks_at(monkeypatch):
    monkeypatch.setattr(host.nodes.steady.steady, "find_flow", lambda first, _second: torch.zeros_like(first[:, :2]))
    inputs = {"disparity": lambda count: near(count)[:, ::4, ::4], "image": lambda count: image(1)[:, ::4, ::4]}
    few, many = (beyond_outputs(host.nodes.SteadyDisparity, count, inputs) for count in (16, 28))
    assert many - few < FRAME // 16, (few, many)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
@pytest.mark.parametrize("changes", [{}, {"smooth_range": 2, "refine": 1}])
def test_depth_holds_its_maps(monkeypatch, changes, dtype):
    monkeypatch.setattr(host.model_management, "intermediate_dtype", lambda: dtype)
    monkeypatch.setattr(host.nodes.depth_model.depth.inference, "estimate", lambda _model, photo, _size: photo[:, :1].clone())
    monkeypatch.setattr(host.nodes.devices.refine, "refine_edges", lambda _photo, disparity, *_: disparity.clone())
    check(host.nodes.FindDisparity, {"depth_model": load_depth_model(DEPTH), "image": image, **changes})


@pytest.mark.parametrize("smooth_range", [0, 1])
def test_depth_is_the_same_in_half_precision(monkeypatch, smooth_range):
    """And equal to stretching all frames at once, one of them flat."""
    frames = torch.rand(5, 1, 20, 30) * torch.tensor([1, 7, 0, 3, 2.0]).view(-1, 1, 1, 1) + 9
    monkeypatch.setattr(depth.inference, "estimate", lambda _model, photo, _size: photo[:, :1])
    photos = frames.expand(-1, 3, -1, -1)
    low, high = ([float(extreme(frame)) for frame in frames] for extreme in (torch.amin, torch.amax))
    if smooth_range:  # at the ends the last frame counts twice
        low, high = (
            [sum(values[min(max(i + step, 0), 4)] for step in (-1, 0, 1)) / 3 for i in range(5)] for values in (low, high)
        )
    else:
        low, high = [min(low)] * 5, [max(high)] * 5
    low, high = (torch.tensor(values).view(-1, 1, 1, 1) for values in (low, high))
    expected = ((frames - low) / (high - low)).clamp(0, 1)
    assert torch.allclose(depth.disparity(None, photos, smooth_range=smooth_range), expected, atol=1e-6)
    half = depth.disparity(None, photos, smooth_range=smooth_range, out=torch.empty(5, 1, 20, 30, dtype=torch.float16))
    assert half.dtype == torch.float16 and (half - expected).abs().max() < 2**-10


def test_depth_shows_one_frame():
    model = load_depth_model(DEPTH)
    done = host.execute(host.nodes.FindDisparity, depth_model=model, image=image(3), input_size=140)
    assert len(done.args[0]) == 3 and len(done.ui.as_dict()["images"]) == 1
