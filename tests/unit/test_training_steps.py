"""A step of training: its loss, its rate, and its precision."""

import math
import sys
from types import SimpleNamespace

import pytest
import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from torch import Tensor

from magicbokeh_ops.training import train as training
from magicbokeh_ops.training.losses import PictureLoss
from magicbokeh_ops.training.settings import Stage


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
