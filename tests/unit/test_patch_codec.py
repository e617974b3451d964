"""The codec of networks that are trained from nothing: exact at first, restores once it has learnt, also as in older files."""

import pytest
import torch
from torch import nn

from magicbokeh_ops.model.patch_codec import PatchCodec, codec_of, plain_restorer
from magicbokeh_ops.weights import shapes
from tests.support.random_values import noise


def learnt(restore: nn.Module | None) -> PatchCodec:
    """One whose networks do something."""
    codec = PatchCodec(restore).eval().requires_grad_(False)
    torch.manual_seed(0)
    for network in (codec.restore, codec.smooth):
        last = [layer for layer in network.modules() if isinstance(layer, nn.Conv2d)][-1]
        nn.init.normal_(last.weight, std=0.02)
    return codec


@pytest.mark.parametrize("restore", [None, plain_restorer()], ids=["U-Net", "plain"])
@torch.inference_mode()
def test_it_starts_exact_at_any_multiple_of_a_patch(restore):
    codec = PatchCodec(restore).eval()
    for height, width in ((4, 4), (36, 52), (64, 40)):
        image = 2 * noise(2, 3, height, width) - 1
        latent = codec.encode(image)
        assert latent.shape == (2, 48, height // 4, width // 4)
        torch.testing.assert_close(codec.decode(latent), image)


@pytest.mark.parametrize("restore", [None, plain_restorer()], ids=["U-Net", "plain"])
@torch.inference_mode()
def test_a_file_makes_the_codec_that_it_is_of(restore):
    codec, image = learnt(restore), 2 * noise(1, 3, 40, 48) - 1
    tensors = codec.state_dict()
    shapes.check_vae(tensors, "some.safetensors")
    expected = codec.decode(codec.encode(image))
    assert (expected - image).abs().mean() > 0.01
    again = codec_of(tensors)
    assert type(again.restore) is type(codec.restore)
    torch.testing.assert_close(again.decode(again.encode(image)), expected)
    tensors.pop("smooth.0.bias")
    with pytest.raises(ValueError, match="the codec misses smooth.0.bias"):
        shapes.check_vae(tensors, "some.safetensors")


@torch.inference_mode()
def test_what_pads_a_picture_does_not_change_its_inside():
    """Sides that the U-Net can't halve often enough are continued; far from there nothing differs."""
    restore, image = learnt(None).restore, noise(1, 12, 64, 66)
    cut = restore(image[..., :65])
    assert cut.shape == (1, 12, 64, 65)
    torch.testing.assert_close(cut[..., :4], restore(image)[..., :4], rtol=0, atol=1e-5)
