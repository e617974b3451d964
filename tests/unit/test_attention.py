import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from magicbokeh_ops import sampler
from magicbokeh_ops.model.attention import MaskedBranch, attend, attend_masked, attend_within, thinned
from tests.support import network_calls
from tests.support.asked import Asked
from tests.support.memory_peak import peak_of


def tokens(batch, count, channels, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(batch, count, channels, generator=generator) for _ in range(3)]


def released(q, k, v, heads, region):
    """Explicit softmax with the released -100 mask, after scaling."""
    q, k, v = (x.unflatten(-1, (heads, -1)).transpose(1, 2) for x in (q, k, v))
    mask = torch.where(region[:, None] == region[:, :, None], 0.0, -100.0)[:, None]
    weights = (q @ k.transpose(-1, -2) / q.shape[-1] ** 0.5 + mask).softmax(-1)
    return (weights @ v).transpose(1, 2).flatten(2)


@settings(max_examples=40)
@given(st.integers(1, 3), st.integers(1, 80), st.sampled_from([1, 2, 4]), st.floats(0, 1), st.integers(0, 9))
def test_partitioned_attention_equals_the_masked_one(batch, count, heads, share, seed):
    q, k, v = tokens(batch, count, 8 * heads, seed)
    region = torch.rand(batch, count, generator=torch.Generator().manual_seed(seed)) < share
    expected = released(q, k, v, heads, region)
    assert torch.allclose(attend_masked(q, k, v, heads, region), expected, atol=2e-5)
    assert torch.allclose(attend_within(q, k, v, heads, region), expected, atol=2e-5)


@pytest.mark.parametrize("region", [[True] * 35, [False] * 35, [True] + [False] * 34, [False] * 34 + [True]])
def test_all_in_all_out_and_a_single_token(region):
    q, k, v = tokens(1, 35, 16)
    region = torch.tensor([region])
    assert torch.allclose(attend_within(q, k, v, 2, region), released(q, k, v, 2, region), atol=2e-5)


def test_only_the_partition_matters():
    q, k, v = tokens(2, 50, 16)
    region = torch.rand(2, 50) < 0.5
    assert torch.equal(attend_within(q, k, v, 2, region), attend_within(q, k, v, 2, ~region))


def test_no_other_region_is_seen():
    q, k, v = tokens(1, 40, 16)
    region = torch.arange(40)[None] < 15
    changed = v.clone()
    changed[:, 15:] = 1000
    before, after = (attend_within(q, k, values, 2, region) for values in (v, changed))
    assert torch.equal(before[:, :15], after[:, :15]) and not torch.equal(before[:, 15:], after[:, 15:])


def test_given_attention_is_used():
    """The host's attention, not our own, and never with more tokens than a region has."""
    seen = []

    def host_attention(q, k, v, heads):
        seen.append(q.shape[1])
        return attend(q, k, v, heads)

    q, k, v = tokens(2, 20, 16)
    region = torch.arange(20)[None].expand(2, -1) < 6
    attend_within(q, k, v, 2, region, host_attention)
    assert seen == [6, 14, 6, 14]


def test_thinned_attention():
    """Full up to its limit; beyond, keys from the first to the last, of the own region only."""
    q, k, v = tokens(1, 50, 16)
    assert torch.equal(thinned(attend, 50)(q, k, v, 2), attend(q, k, v, 2))
    kept = [0, 12, 24, 36, 49]
    assert torch.equal(thinned(attend, 5)(q, k, v, 2), attend(q, k[:, kept], v[:, kept], 2))
    region = torch.arange(50)[None] < 7
    changed = v.clone()
    changed[:, 7:] = 1000
    before, after = (attend_within(q, k, values, 2, region, thinned(attend, 5)) for values in (v, changed))
    assert torch.equal(before[:, :7], after[:, :7]) and not torch.equal(before[:, 7:], after[:, 7:])


def test_masked_branch_without_update_adds_nothing():
    branch = MaskedBranch(16, 4, torch.nn)
    torch.nn.init.zeros_(branch.to_out_lora[1].weight)
    x, q, k = tokens(1, 30, 16)
    assert branch(x, q, k, x, 2, torch.arange(30)[None] < 9, attend).abs().max() == 0


@pytest.mark.parametrize("tiles", [1, 3])
@torch.inference_mode()
def test_a_device_is_asked_once_for_a_resolution(tiles):
    """However many layers there are."""
    pair = [copy.deepcopy(network) for network in (network_calls.UNET, network_calls.CONTROLNET)]
    latent, hint, mask = torch.rand(tiles, 4, 8, 16), torch.rand(tiles, 1, 64, 128), torch.rand(tiles, 1, 64, 128).round()
    mode = Asked()
    with mode as device:
        unet, controlnet = (network.to(device) for network in pair)
        mode.reads.clear()
        sampler.predict(unet, controlnet, latent, hint, mask, device)
    layers = [module for module in unet.modules() if isinstance(module, MaskedBranch)]
    assert len(mode.reads) <= 6 and len(layers) > 3, mode.reads


def test_peak_memory_is_a_fraction_of_the_dense_mask():
    q, k, v = tokens(1, 64 * 64, 5 * 64)
    region = torch.rand(1, 64 * 64) < 0.5
    ours, dense = (peak_of(lambda work=work: work(q, k, v, 5, region)) for work in (attend_within, attend_masked))
    assert ours <= 0.25 * dense
