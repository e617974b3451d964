"""Edges of disparity, moved to where the photo has them."""

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from magicbokeh_ops.depth import refine
from magicbokeh_ops.depth.refine import refine_edges
from tests.support.memory_peak import peak_of
from tests.support.spoiled import compare, spoil


def scene(side=64, edge=30):
    """A photo of two colours, and disparity that steps where they meet."""
    photo = torch.full((1, 3, side, side), 0.7)
    photo[..., :edge] = torch.tensor([0.2, 0.3, 0.1]).view(3, 1, 1)
    photo += 0.01 * torch.randn(photo.shape, generator=torch.Generator().manual_seed(0))
    disparity = torch.full((1, 1, side, side), 0.1)
    disparity[..., :edge] = 0.8
    return photo.clamp(0, 1), disparity


@pytest.mark.parametrize("spoiled", [(3, 1.0, 0.0), (7, 0.0, 0.0), (7, 2.0, -1.0), (5, -2.0, 1.0), (9, -2.0, 0.0)])
def test_a_soft_and_moved_edge_comes_back(spoiled):
    photo, exact = scene()
    soft = spoil(exact, *spoiled)
    refined = refine_edges(photo, soft, 3)
    assert ((soft - exact).abs() > 0.1).float().mean() > 0.02
    assert ((refined - exact).abs() > 0.05).float().mean() < 0.001


def test_far_from_edges_nothing_changes():
    photo, _ = scene()
    ramp = torch.linspace(0, 1, 64).expand(1, 1, 64, 64) * 0.1
    assert torch.equal(refine_edges(photo, ramp, 3), ramp)
    _, exact = scene()
    soft = spoil(exact, 7, 1.0, 0.0)
    refined = refine_edges(photo, soft, 3)
    assert torch.equal(refined[..., 40:], soft[..., 40:]) and torch.equal(refined[..., :22], soft[..., :22])


def test_a_batch_is_its_frames_and_any_size_of_map_will_do():
    photo, exact = scene()
    photos = torch.cat([photo, photo.flip(-1)])
    maps = torch.cat([spoil(exact, 5, 1.0, 0.0), spoil(exact.flip(-1), 5, 1.0, 0.0)])
    refined = refine_edges(photos, maps, 3)
    for i in range(2):
        assert torch.equal(refined[i : i + 1], refine_edges(photos[i : i + 1], maps[i : i + 1], 3))
    smaller = torch.nn.functional.interpolate(exact, size=(32, 32), mode="area")
    assert refine_edges(photos, smaller, 2).shape == (2, 1, 64, 64)


@pytest.mark.long
def test_the_lens_gains_near_edges():
    """1.5 dB on scenes that were not looked at while the constants were chosen."""

    def spoiled(_, exact):
        return spoil(exact, 7, 1.5, -1.0)

    scores = compare(11, {"soft": spoiled, "refined": lambda photo, exact: refine_edges(photo, spoiled(photo, exact), 3)})
    gains = [result["refined"][0] - result["soft"][0] for result in scores]
    assert sum(gains) / len(gains) > 1.5, gains


def busy(height=220, width=260):
    """Discs before one another, and their disparity as soft as a network's."""
    generator = torch.Generator().manual_seed(0)
    photo, disparity = torch.zeros(1, 3, height, width), torch.zeros(1, 1, height, width)
    y, x = torch.arange(height)[:, None], torch.arange(width)
    for i in range(12):
        top, left, radius, *color = torch.rand(6, generator=generator).tolist()
        inside = (y - top * height) ** 2 + (x - left * width) ** 2 < (10 + 40 * radius) ** 2
        photo[0, :, inside], disparity[0, 0, inside] = torch.tensor(color)[:, None], 0.1 + 0.07 * i
    photo += 0.02 * torch.randn(photo.shape, generator=generator)
    return photo.clamp(0, 1), spoil(disparity, 5, 1.0, -0.5)


@pytest.mark.long
@pytest.mark.parametrize("reach", [1, 2, 4])
def test_parts_are_equal_to_the_whole(reach, monkeypatch):
    photo, soft = busy()
    whole = refine_edges(photo, soft, reach)
    monkeypatch.setattr(refine, "VOTING_SIDE", 37)
    monkeypatch.setattr(refine, "SETTLING_SIDE", 64)
    monkeypatch.setattr(refine, "PIXELS_AT_ONCE", 100)
    assert (refine_edges(photo, soft, reach) - whole).abs().max() < 1e-5
    assert ((whole - soft).abs() > 0.02).float().mean() > 0.01


@pytest.mark.long
def test_parts_take_less_memory_than_the_whole(monkeypatch):
    photo, soft = busy(400, 400)
    whole = peak_of(lambda: refine_edges(photo, soft, 1))
    assert whole < refine.memory_needed((400, 400), 1)
    monkeypatch.setattr(refine, "SETTLING_SIDE", 100)
    monkeypatch.setattr(refine, "VOTING_SIDE", 100)
    monkeypatch.setattr(refine, "PIXELS_AT_ONCE", 2000)
    least = photo.nbytes + 2 * soft.nbytes  # votes, the result and the picture's part of it
    assert peak_of(lambda: refine_edges(photo, soft, 1)) - least < (whole - least) / 3


class Work(TorchDispatchMode):
    """Counts values that operations make."""

    def __init__(self):
        super().__init__()
        self.values = 0

    def __torch_dispatch__(self, operation, types, args=(), kwargs=None):
        out = operation(*args, **(kwargs or {}))
        self.values += out.numel() if isinstance(out, torch.Tensor) and not operation.is_view else 0
        return out


@pytest.mark.long
def test_progress_comes_often_and_may_stop_the_run():
    photo, soft = (planes.repeat(1, 1, 3, 3) for planes in busy())
    said, done = [], []
    with Work() as work:

        def progress(step, steps):
            done.append(work.values)
            said.append(step / steps)

        refine_edges(photo, soft, 4, progress)
    assert said[0] == 0 and said[-1] == 1 and said == sorted(said)
    # About a nanosecond each, so that nobody waits long.
    assert max(b - a for a, b in zip([0, *done], [*done, work.values])) < 0.03e9 < 1e9 < work.values

    class Stopped(Exception):  # noqa: N818
        pass

    def stop(step, steps):
        if step > 0.8 * steps:
            raise Stopped

    with pytest.raises(Stopped):
        refine_edges(*busy(), 2, stop)


@pytest.mark.long
def test_any_layout_in_memory_and_any_type_gives_the_same():
    photo, soft = busy()
    expected = refine_edges(photo, soft, 2)
    turned = (planes.mT.contiguous().mT for planes in (photo, soft))
    assert torch.equal(refine_edges(*turned, 2), expected)
    last = photo.to(memory_format=torch.channels_last)
    assert torch.equal(refine_edges(last.expand(2, -1, -1, -1), soft.double(), 2)[1:], expected)


def test_bad_input_is_named():
    photo, exact = scene()
    with pytest.raises(ValueError, match="is 0; to refine"):
        refine_edges(photo, exact, 0)
    with pytest.raises(ValueError, match="image holds NaN"):
        refine_edges(photo * float("nan"), exact)
    with pytest.raises(ValueError, match="disparity holds NaN"):
        refine_edges(photo, exact * float("nan"))
    with pytest.raises(ValueError, match="disparity has 3 frames for 2 pictures"):
        refine_edges(photo.repeat(2, 1, 1, 1), exact.repeat(3, 1, 1, 1))
