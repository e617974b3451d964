"""Geometry of the tiles of the fast preset; the released ones are in tests/parity."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from magicbokeh_ops.model.tiling import blend, even_starts, even_tiles, mirrored, released_positions, smooth_ramp

SIZES = st.integers(8, 700)


@given(length=SIZES, tile=st.integers(16, 128), overlap=st.integers(2, 8))
def test_even_tiles_cover_the_axis_and_overlap_enough(length, tile, overlap):
    starts, size = even_starts(length, tile, overlap)
    assert starts[0] == 0 and starts[-1] + size == length
    assert size <= max(tile, 1) and (len(starts) == 1) == (length <= tile)
    for a, b in zip(starts, starts[1:]):
        assert overlap <= a + size - b < size
    if len(starts) > 1:
        fewer = len(starts) - 1
        assert fewer * tile - (fewer - 1) * overlap < length


@given(height=SIZES, width=SIZES)
def test_blending_equal_tiles_gives_them_back(height, width):
    positions, size = even_tiles((height, width), 72, 6)
    image = torch.rand(1, 1, height, width)
    tiles = (image[..., top : top + size[0], left : left + size[1]] for top, left in positions)
    assert torch.allclose(blend(tiles, positions, (height, width), 6, smooth_ramp), image, atol=1e-6)


def test_smooth_ramps_add_up_to_one():
    left, right = smooth_ramp(0, 100, 53, 6), smooth_ramp(47, 100, 53, 6)
    assert torch.allclose(left[-6:] + right[:6], torch.ones(6))


@pytest.mark.parametrize(
    ("length", "wanted", "indices"),
    [(3, 8, [0, 1, 2, 1, 0, 1, 2, 1]), (1, 3, [0, 0, 0]), (5, 5, [0, 1, 2, 3, 4]), (2, 4, [0, 1, 0, 1])],
)
def test_mirroring(length, wanted, indices):
    assert mirrored(length, wanted).tolist() == indices


@given(st.integers(16, 200), st.integers(16, 200))
def test_released_tiles_cover_everything(height, width):
    positions = released_positions((height, width), 16, 8)
    tiles = [torch.ones(1, 1, 16, 16)] * len(positions)
    assert torch.allclose(blend(tiles, positions, (height, width), 8), torch.ones(1, 1, height, width))
    assert len(set(positions)) == len(positions)


def test_a_short_axis_is_refused():
    with pytest.raises(ValueError, match="shorter than a tile"):
        released_positions((10, 40), 16, 8)
