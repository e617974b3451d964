"""sRGB and light, and how colours are kept."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from magicbokeh_ops.color import linear_to_srgb, match_low_frequencies, match_mean_and_spread, srgb_to_linear


@given(st.floats(0, 8))
def test_srgb_round_trip(value):
    x = torch.tensor(value, dtype=torch.float64)
    assert srgb_to_linear(linear_to_srgb(x)) == pytest.approx(value, abs=1e-6)


def test_srgb_known_values():
    assert srgb_to_linear(torch.tensor([0.0, 0.5, 1.0])).tolist() == pytest.approx([0, 0.21404, 1], abs=1e-5)


def test_colour_transfers():
    generator = torch.Generator().manual_seed(0)
    image, reference = torch.rand(2, 2, 3, 40, 50, generator=generator) * 0.5 + 0.2
    matched = match_mean_and_spread(image, 0.6 * reference + 0.2)
    assert torch.allclose(matched.mean((2, 3)), (0.6 * reference + 0.2).mean((2, 3)), atol=1e-3)
    assert torch.allclose(match_low_frequencies(image + 0.1, image), image, atol=1e-5)
    assert torch.allclose(match_mean_and_spread(image, image), image, atol=1e-5)
