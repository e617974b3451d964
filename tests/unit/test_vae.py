"""The VAE against diffusers' own: the same pictures for less memory and fewer operations."""

import pytest
import torch
from diffusers import AutoencoderKL
from peft import LoraConfig, inject_adapter_in_model
from torch.utils.flop_counter import FlopCounterMode

from magicbokeh_ops.model import strips
from magicbokeh_ops.model.vae import vae_of
from tests.support.half_precision import work_in_single_precision
from tests.support.memory_peak import peak_of


@pytest.mark.long
def test_the_vae_is_that_of_diffusers_and_takes_less_memory(monkeypatch):
    """In strips of 10 rows, of which the last has fewer; for two pictures at once; while it learns and with a LoRA, without strips."""
    monkeypatch.setattr(strips, "STRIP", 80_000)
    torch.manual_seed(0)
    kinds = ("DownEncoderBlock2D",) * 3, ("UpDecoderBlock2D",) * 3
    plain = AutoencoderKL(3, 3, *kinds, block_out_channels=(64, 128, 128), layers_per_block=2).eval()
    codec = vae_of(plain.state_dict())
    image, latent = torch.rand(2, 3, 136, 120), torch.randn(2, 4, 34, 30)
    with torch.inference_mode():
        posterior, decoded = plain.encode(image).latent_dist, plain.decode(latent).sample
        noise = torch.randn_like(posterior.mean)
        assert torch.allclose(codec.encode(image), posterior.mean, atol=1e-5)
        assert torch.allclose(codec.encode(image, noise), posterior.mean + posterior.std * noise, atol=1e-5)
        assert torch.allclose(codec.decode(latent), decoded, atol=1e-5)
        assert peak_of(lambda: codec.encode(image)) < 0.55 * peak_of(lambda: plain.encode(image).latent_dist.mean)
        assert peak_of(lambda: codec.decode(latent)) < 0.62 * peak_of(lambda: plain.decode(latent).sample)
        work_in_single_precision(monkeypatch.setattr)
        half = vae_of(plain.state_dict(), dtype=torch.bfloat16).decode(latent)
        plain_half = plain.bfloat16().decode(latent.bfloat16()).sample
        assert (half - decoded).abs().mean() < (plain_half - decoded).abs().mean()
    codec.decode(latent.requires_grad_()).square().mean().backward()
    assert latent.grad.abs().max() > 0
    inject_adapter_in_model(LoraConfig(r=2, target_modules=["conv1"]), codec)
    with torch.no_grad():
        assert torch.allclose(codec.decode(latent), decoded, atol=1e-5)


@pytest.mark.long
def test_upsampling_in_phases_is_the_same_for_less(monkeypatch):
    """In strips of 2 rows, the last of 1, beyond 512 pixels and only there; attention is full, some tokens at a time."""
    monkeypatch.setattr(strips, "STRIP", 30_000)
    monkeypatch.setattr("magicbokeh_ops.model.vae.QUERIES", 1000)
    torch.manual_seed(0)
    kinds = ("DownEncoderBlock2D",) * 2, ("UpDecoderBlock2D",) * 2
    plain = AutoencoderKL(3, 3, *kinds, block_out_channels=(32, 64), layers_per_block=1).eval()
    codec = vae_of(plain.state_dict())
    codec.decoder.up_blocks[0].upsamplers[0].conv.register_forward_pre_hook(lambda *_: pytest.fail("not in strips"))
    for width, fewer in ((64, 0), (72, 5 / 9)):
        latent, decoded, flops = torch.randn(2, 4, 61, width), [], []
        upsampling = 2 * 2 * (9 * 64 * 64) * (2 * 61) * (2 * width)
        for work in (lambda z: plain.decode(z).sample, codec.decode):
            with torch.inference_mode(), FlopCounterMode(display=False) as counter:
                decoded.append(work(latent))
            flops.append(counter.get_total_flops())
        assert torch.allclose(*decoded, atol=1e-5)
        assert flops[0] - flops[1] == pytest.approx(fewer * upsampling, rel=0.02)
