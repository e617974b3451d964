"""Values that a sweep takes."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from magicbokeh_ops.sweep import EASINGS, sweep


@given(st.sampled_from(EASINGS), st.floats(0, 100), st.floats(0, 100), st.integers(2, 50), st.booleans())
def test_sweep_goes_from_start_to_end(easing, start, end, frames, by_ratio):
    values = sweep(start, end, frames, easing, by_ratio)
    assert len(values) == frames
    assert values[0] == pytest.approx(start, abs=1e-9) and values[-1] == pytest.approx(end, abs=1e-9)
    steps = [b - a for a, b in zip(values, values[1:])]
    assert all(s * (end - start) >= -1e-9 for s in steps)


def test_sweep_by_ratio_is_even_in_stops():
    assert sweep(4, 64, 5, by_ratio=True) == pytest.approx([4, 8, 16, 32, 64])


@pytest.mark.parametrize(("frames", "easing", "message"), [(1, "linear", "frames is 1"), (4, "bounce", "easing is 'bounce'")])
def test_bad_sweep_is_refused(frames, easing, message):
    with pytest.raises(ValueError, match=message):
        sweep(0, 1, frames, easing)
