"""Some random graphs, and whether the search for failures finds one."""

from types import SimpleNamespace

import pytest

from tests import fuzz_nodes


@pytest.fixture(scope="module")
def bench():
    return fuzz_nodes.Bench()


@pytest.mark.slow
def test_random_graphs(bench):
    lines: list[str] = []
    assert fuzz_nodes.explore(bench, 30, seed=0, most_pixels=4500, say=lines.append) == 0, "\n".join(lines)
    assert bench.ran > 15 and bench.refused > 2


@pytest.mark.parametrize(
    "text", ["tensor", "two, but in one line. Here", "two\nlines.", "x has 1 value, 2 are needed.", "k is " + 300 * "9" + "."]
)
def test_a_message_that_helps_nobody(text):
    assert fuzz_nodes.flaw_of_message(text, ["k", "focus_mask"])


def test_a_message_as_it_should_be():
    assert not fuzz_nodes.flaw_of_message("focus mask is 1.5 high; make it 2.", ["k", "focus_mask"])


@pytest.mark.parametrize(
    "broken, text",
    [
        (lambda mask: mask.view(7), "RuntimeError"),
        (lambda mask: mask / 0, "not finite"),
        (lambda mask: mask[..., 1:], "shape"),
        (lambda mask: mask + 0.5, "goes from"),
        (lambda mask: mask.zero_(), "written to"),
    ],
)
def test_a_fault_is_found_and_cut_down(bench, monkeypatch, broken, text):
    mask = {"shape": [2, 5, 4], "fill": "noise", "grey": False, "range": [0.0, 0.7], "hole": None, "dtype": "bfloat16"}
    mask |= {"layout": "sliced", "seed": 3}
    widgets = {"threshold": 0.4, "smooth": 3, "min_area": 0.25}
    masks = [{"node": "FocusMask", "inputs": {"defocus": given}, "widgets": widgets} for given in (mask, mask, [1, 0])]
    assert bench.trial(masks) is None
    monkeypatch.setattr(bench.nodes.FocusMask, "execute", lambda defocus, **_: SimpleNamespace(args=(broken(defocus),)))
    found = bench.trial(masks)
    assert text in found[1]
    plain = {"fill": "ramp", "range": [0.0, 1.0], "dtype": "float32", "layout": "plain", "seed": 0}
    start = {"threshold": 0.1, "smooth": 0, "min_area": 0.0}
    smaller = [{"node": "FocusMask", "inputs": {"defocus": mask | plain}, "widgets": start}]
    assert fuzz_nodes.reduce([*masks, *masks], found, bench) == smaller
