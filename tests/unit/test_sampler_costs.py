"""What the one step costs at full size: memory and operations."""

from functools import partial

import pytest
import torch

from magicbokeh_ops import sampler
from magicbokeh_ops.model.network import Config, ControlNet, UNet
from tests.support.full_size import run
from tests.support.memory_peak import peak_of


@pytest.mark.long
@torch.inference_mode()
def test_a_prediction_keeps_to_the_memory_it_asks_for():
    """At full size, fp32: all of it, and what each cell of the latent adds."""
    with torch.device("meta"):
        networks = UNet(Config(rank=64)), ControlNet(Config(rank=64))
    # Never written, so that no memory is filled for them.
    networks = [network.to_empty(device="cpu") for network in networks]
    held, promised = [], []
    for height, width in ((16, 16), (72, 72)):
        latent, defocus = torch.zeros(1, 4, height, width), torch.zeros(1, 1, 8 * height, 8 * width)
        regions = torch.zeros_like(defocus)
        regions[..., : 4 * width] = 1
        held.append(peak_of(partial(sampler.predict, *networks, latent, defocus, regions)))
        promised.append(sampler.memory_needed(latent.shape, torch.float32))
    assert held[0] <= promised[0] and held[1] <= promised[1]
    assert held[1] - held[0] <= promised[1] - promised[0]


@pytest.mark.long
def test_fast_costs_a_third_of_the_released_procedure():
    """At 12 megapixels."""
    fast, reference = (sum(run(procedure, (3024, 4032), "meta")["flops"].values()) for procedure in ("fast", "reference"))
    assert reference == pytest.approx(165 * 4.73e12, rel=0.01)
    assert fast / reference <= 0.36
