"""Templates as they lie on the canvas, with and without models, before and after a run."""

from pathlib import Path

import pytest

from tests.host.test_pack import WORKFLOWS

LAYOUT = (Path(__file__).parent / "layout.js").read_text(encoding="utf-8")


def layout(canvas) -> dict:
    return {kind: found for kind, found in canvas.run(LAYOUT).items() if found}


def all_wrong(canvas) -> dict:
    found = {}
    for name in WORKFLOWS:
        canvas.template(name)
        found[name] = layout(canvas)
    return {name: wrong for name, wrong in found.items() if wrong}


def test_nothing_overlaps_and_links_run_from_left_to_right_past_all_nodes(canvas):
    assert not all_wrong(canvas)
    assert not canvas.errors


@pytest.mark.parametrize("language", ["en", "zh", "ja"])
def test_nothing_overlaps_where_all_models_are_missing(new_canvas, language):
    """Nodes grow by what they say of that, and by the bar of an error."""
    with new_canvas.language(language):
        assert not all_wrong(new_canvas)
        assert not new_canvas.errors


NEED_NO_MODEL = (
    "lens_blur",
    "lens_blur_photo",
    "rack_focus",
    "keyed_focus",
    "nano_quickstart",
    "night_lights",
    "miniature",
    "camera_units",
    "touch_up",
)


@pytest.mark.parametrize("name", NEED_NO_MODEL)
def test_nothing_overlaps_after_a_run(canvas, name):
    """Nodes grow by their pictures."""
    canvas.template(name)
    canvas.run_workflow()
    canvas.wait(1500)
    assert not layout(canvas)
