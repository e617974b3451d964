"""Disparity By Hand: lines over the photo, moved by real mouse and keys."""

import pytest
from PIL import Image

from magicbokeh_ops.demo import ASSETS

BUILD = """() => {
  app.graph.clear();
  const make = (kind, x, y) => {
    const node = LiteGraph.createNode(kind);
    node.pos = [x, y];
    app.graph.add(node);
    return node;
  };
  const photo = make("LoadImage", 40, 120);
  const hand = make("MagicBokehDisparityByHand", 420, 60);
  const show = make("MaskPreview", 900, 120);
  const widget = photo.widgets.find((widget) => widget.name === "image");
  widget.value = "photo.jpg";
  widget.callback?.("photo.jpg");
  photo.connect(0, hand, hand.inputs.findIndex((input) => input.name === "image"));
  hand.connect(0, show, 0);
  app.canvas.ds.scale = 1;
  app.canvas.ds.offset[0] = 60;
  app.canvas.ds.offset[1] = 20;
  app.canvas.setDirty(true, true);
}"""


@pytest.fixture
def hand(canvas):
    """Photo into Disparity By Hand."""
    (canvas.host.base / "input" / "photo.jpg").write_bytes((ASSETS / "demo.jpg").read_bytes())
    canvas.run(BUILD)
    canvas.wait(1500)
    canvas.snapshot()
    return canvas


def values(hand) -> dict:
    return hand.run(
        """() => {
          const node = app.graph.nodes.find((node) => node.comfyClass === "MagicBokehDisparityByHand");
          return Object.fromEntries(node.widgets.map((widget) => [widget.name, widget.value]));
        }"""
    )


def close(value: float):
    return pytest.approx(value, abs=0.012)


def test_handles_are_dragged_and_undone(hand):
    assert hand.hint().startswith("1: vanishing_x 0.50, horizon 0.40")
    hand.drag((0.5, 0.4), (0.5, 0.35), (0.6, 0.3))
    assert values(hand)["horizon"] == close(0.3) and values(hand)["vanishing_x"] == close(0.6)
    hand.drag((0.25, 0.3), (0.25, 0.4), (0.25, 0.44))
    assert values(hand)["back_wall"] == close(0.14 / 0.7)
    hand.drag((0.98, 0.3), (0.98, 0.5), (0.98, 0.65))
    assert values(hand)["right_wall"] == close(0.5)
    hand.drag((0.02, 0.3), (0.02, 0.5), (0.02, 0.8))
    assert values(hand)["left_wall"] == close(0.5 / 0.7)
    hand.drag((0.5, 0.98), (0.5, 0.9), (0.5, 0.88))
    assert values(hand)["near_end"] == close(0.9)
    assert values(hand)["horizon"] == close(0.3)
    hand.drag((0.92, 0.3), (0.92, 0.25), (0.92, 0.2))
    assert values(hand)["horizon_tilt"] == pytest.approx(13.4, abs=1)
    for undone in ({"horizon_tilt": 0}, {"near_end": 1}, {"left_wall": 0}, {"right_wall": 0}):
        hand.page.keyboard.press("Control+z")
        hand.wait(1500)
        assert values(hand).items() >= undone.items()
    hand.drag((0.98, 0.3), (0.98, 0.5), (0.98, 0.65))
    assert values(hand)["right_wall"] == close(0.5)
    assert not hand.errors


def test_handles_go_beyond_the_picture(hand):
    """Where they are drawn at its edge, and taken without a jump."""
    hand.drag((0.5, 0.4), (0.5, 0.2), (0.5, -0.1))
    assert values(hand)["horizon"] == close(-0.1)
    hand.drag((0.5, 0.015), (0.5, 0.1), (0.5, 0.215))
    assert values(hand)["horizon"] == close(0.1)
    hand.drag((0.6, 0.6), (0.7, 0.7), (0.8, 0.8))  # no handle is there
    assert (
        values(hand).items() >= {"horizon": values(hand)["horizon"], "back_wall": 0, "near_end": 1, "horizon_tilt": 0}.items()
    )
    assert not hand.errors


def test_by_keys_alone(hand):
    hand.stage.focus()
    assert hand.stage.get_attribute("role") == "application" and "keys 1 to 6" in hand.stage.get_attribute("aria-label")
    for key, name, presses in (
        ("1", "horizon", ["Shift+ArrowDown"]),
        ("3", "near_end", ["Shift+ArrowDown", "ArrowDown"]),
        ("4", "back_wall", ["Shift+ArrowDown", "Shift+ArrowDown"]),
        ("6", "right_wall", ["Shift+ArrowDown"]),
        ("2", "horizon_tilt", ["ArrowUp"]),
    ):
        hand.page.keyboard.press(key)
        for press in presses:
            hand.page.keyboard.press(press)
        hand.wait(500)
        assert hand.hint().startswith(f"{key}: ") and name in hand.hint()
    found = values(hand)
    assert found["horizon"] == close(0.45) and found["near_end"] == close(1.055)
    assert found["back_wall"] == close(0.1 / 0.605) and found["right_wall"] == close(0.05 / 0.605)
    assert found["horizon_tilt"] == pytest.approx(0.68, abs=0.05)


def test_the_depth_that_is_shown_is_the_node_s(hand):
    hand.drag((0.25, 0.4), (0.25, 0.5), (0.25, 0.55))
    with Image.open(ASSETS / "demo.jpg") as photo:
        color = photo.resize((128, 128), Image.Resampling.BOX).getpixel((19, 90))
    assert hand.shown(0.15, 0.7) == pytest.approx(color, abs=40)
    hand.page.get_by_test_id("magicbokeh-room").last.click()
    hand.wait(800)
    assert hand.page.get_by_test_id("magicbokeh-room").last.get_attribute("aria-pressed") == "true"
    for y, level in ((0.2, 0.25), (0.7, 0.5), (0.85, 0.75)):
        assert hand.shown(0.15, y) == pytest.approx([255 * level] * 3, abs=6)
    hand.run_workflow()
    assert not hand.errors


def test_the_prompt_holds_ordinary_widgets(hand):
    hand.drag((0.5, 0.4), (0.5, 0.35), (0.5, 0.3))
    queued = hand.run("async () => (await app.graphToPrompt()).output")
    inputs = next(node["inputs"] for node in queued.values() if node["class_type"] == "MagicBokehDisparityByHand")
    rest = {"near_end": 1, "horizon_tilt": 0, "back_wall": 0, "left_wall": 0, "right_wall": 0, "split_things": False}
    assert inputs == {"image": ["1", 0], "horizon": close(0.3), "vanishing_x": close(0.5), **rest}
