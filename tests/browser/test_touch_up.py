"""What is changed by hand shows in the focus map behind it, without a click."""

import pytest
from PIL import Image

CHAIN = """([kind, widgets]) => {
  const [near, focus] = ["LoadImageMask", "MagicBokehDefocusMap"].map((name) => app.graph.nodes.find((node) => node.comfyClass === name));
  const photo = app.graph.nodes.find((node) => node.comfyClass === "LoadImage");
  const put = (node, name, value) => {
    const widget = node.widgets.find((widget) => widget.name === name);
    widget.value = value;
    widget.callback?.(value);
  };
  const make = (name, y) => {
    const node = LiteGraph.createNode(name);
    node.pos = [900, y];
    app.graph.add(node);
    return node;
  };
  const slot = (node, name) => node.inputs.findIndex((input) => input.name === name);
  const mask = make("LoadImageMask", 40);
  put(mask, "image", "mask.png");
  put(mask, "channel", "red");
  const first = make(kind, 300);
  if (slot(first, "disparity") >= 0) near.connect(0, first, slot(first, "disparity"));
  if (slot(first, "image") >= 0) photo.connect(0, first, slot(first, "image"));
  if (slot(first, "mask") >= 0) mask.connect(0, first, slot(first, "mask"));
  const last = make("MagicBokehDisparityTouchUp", 700);
  first.connect(0, last, slot(last, "disparity"));
  mask.connect(0, last, slot(last, "mask"));
  put(last, "operation", "add amount");
  put(last, "amount", 0);
  last.connect(0, focus, slot(focus, "disparity"));
  for (const [name, value] of Object.entries(widgets)) put(first, name, value);
}"""
SET = """([kind, name, value]) => {
  const node = app.graph.nodes.find((node) => node.comfyClass === kind);
  const widget = node.widgets.find((widget) => widget.name === name);
  widget.value = value;
  widget.callback?.(value);
}"""


@pytest.fixture
def touched(graph):
    """A graph whose focus is at (25 %, 50 %), under a mask of the left half."""
    mask = Image.new("L", (512, 512))
    mask.paste(255, (0, 0, 256, 512))
    mask.save(graph.host.base / "input" / "mask.png")
    return graph


def runs(graph) -> int:
    return len(graph.host.get("/history"))


def settled(graph, focus: float) -> None:
    """Wait until the focus is shown."""
    graph.page.wait_for_function(
        """(focus) => {
          const hint = [...document.querySelectorAll("[data-testid=magicbokeh-hint]")].find((hint) => hint.textContent.startsWith("Focus"));
          return hint && Math.abs(Number(hint.textContent.split(" ")[1]) - focus) < 0.01;
        }""",
        arg=focus,
        timeout=60000,
    )


def test_a_touch_up_shows(touched):
    touched.run(CHAIN, ["MagicBokehDisparityTouchUp", {"value": 0.3, "edge": 0}])
    touched.click(0.25, 0.5)
    touched.get_depth()
    settled(touched, 0.3)
    before = runs(touched)
    touched.run(SET, ["MagicBokehDisparityTouchUp", "value", 0.8])
    settled(touched, 0.8)
    touched.wait(2500)
    assert runs(touched) == before + 1, "it runs once for a change"
    assert not touched.errors


def test_what_is_drawn_by_hand_shows(touched):
    """Through a touch-up that comes after it."""
    touched.run(CHAIN, ["MagicBokehDisparityByHand", {"horizon": 0.0}])
    touched.page.get_by_test_id("magicbokeh-depth").click()
    settled(touched, 0.5)
    touched.run(SET, ["MagicBokehDisparityByHand", "back_wall", 0.7])
    settled(touched, 0.7)
    assert not touched.errors


def test_nothing_runs_on_its_own_before_there_is_depth(touched):
    touched.run(CHAIN, ["MagicBokehDisparityTouchUp", {"value": 0.3}])
    before = runs(touched)
    touched.run(SET, ["MagicBokehDisparityTouchUp", "value", 0.8])
    touched.wait(3000)
    assert runs(touched) == before
