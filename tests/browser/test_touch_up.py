"""Disparity Touch-Up: its point by real mouse and keys; and what is changed by hand shows in the focus map behind it, without a click."""

import pytest
from PIL import Image

from magicbokeh_ops.demo import ASSETS

CHAIN = """([kind, widgets]) => {
  const [photo, near, unchanged] = ["LoadImage", "LoadImageMask", "MagicBokehDefocusMap"].map((name) =>
    app.graph.nodes.find((node) => node.comfyClass === name),
  );
  app.graph.remove(unchanged);
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
  const focus = make("MagicBokehDefocusMap", 1100); // whose view is the last one
  focus.pos = [420, 80];
  photo.connect(0, focus, slot(focus, "image"));
  last.connect(0, focus, slot(focus, "disparity"));
  for (const [name, value] of Object.entries(widgets)) put(first, name, value);
}"""
ALONE = """(withPhoto) => {
  const [photo, near] = ["LoadImage", "LoadImageMask"].map((name) => app.graph.nodes.find((node) => node.comfyClass === name));
  app.graph.remove(app.graph.nodes.find((node) => node.comfyClass === "MagicBokehDefocusMap"));
  const make = (name, x) => {
    const node = LiteGraph.createNode(name);
    node.pos = [x, 40];
    app.graph.add(node);
    return node;
  };
  const [touch, show] = [make("MagicBokehDisparityTouchUp", 420), make("MaskPreview", 900)];
  for (const name of ["disparity", "mask"]) near.connect(0, touch, touch.inputs.findIndex((input) => input.name === name));
  if (withPhoto) photo.connect(0, touch, touch.inputs.findIndex((input) => input.name === "image"));
  touch.connect(0, show, 0);
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


@pytest.fixture
def alone(graph):
    graph.run(ALONE, True)
    graph.wait(1500)
    return graph


def values(graph) -> dict:
    return graph.run(
        """() => {
          const node = app.graph.nodes.find((node) => node.comfyClass === "MagicBokehDisparityTouchUp");
          return Object.fromEntries(node.widgets.map((widget) => [widget.name, widget.value]));
        }"""
    )


def close(x: float, y: float) -> dict:
    return {"point_x": pytest.approx(x, abs=0.004), "point_y": pytest.approx(y, abs=0.004)}


def test_the_point_by_mouse_and_keys(alone):
    alone.run(SET, ["MagicBokehDisparityTouchUp", "operation", "value of a point"])
    alone.wait()
    alone.snapshot()
    alone.click(0.25, 0.4)
    assert values(alone).items() >= close(0.25, 0.4).items()
    alone.drag((0.5, 0.5), (0.6, 0.6), (0.8, 0.3))
    dragged = values(alone)
    assert dragged.items() >= close(0.8, 0.3).items()
    assert alone.hint() == f"point_x {dragged['point_x']:.2f}, point_y {dragged['point_y']:.2f}"
    x = dragged["point_x"] + 8 / min(alone.stage.bounding_box()["width"], alone.stage.bounding_box()["height"])
    assert alone.shown(x, dragged["point_y"]) == pytest.approx([255] * 3, abs=40), "a bar of the cross"
    alone.page.keyboard.press("ArrowRight")
    alone.page.keyboard.press("Shift+ArrowDown")
    alone.wait(1000)
    moved = values(alone)
    assert moved.items() >= close(dragged["point_x"] + 0.005, dragged["point_y"] + 0.05).items()
    for expected in (dragged, close(0.25, 0.4), close(0.5, 0.5)):
        alone.page.keyboard.press("Control+z")
        alone.wait(1500)
        assert values(alone).items() >= expected.items()
    assert not alone.errors


def test_other_operations_take_no_click(alone):
    before = values(alone)
    assert before["operation"] == "set to value" and alone.hint() == "Takes a click where operation is value of a point"
    alone.click(0.25, 0.4)
    alone.page.keyboard.press("ArrowRight")
    alone.wait()
    assert values(alone) == before


def test_without_a_photo_the_point_is_chosen_on_the_disparity(graph):
    graph.run(ALONE, False)
    graph.run(SET, ["MagicBokehDisparityTouchUp", "operation", "value of a point"])
    graph.wait(1500)
    assert graph.hint() == "Connect a photo to image"
    graph.click(0.25, 0.4)
    assert values(graph).items() >= close(0.5, 0.5).items()
    graph.run_workflow()
    graph.wait(1500)
    with Image.open(ASSETS / "demo_disparity.png") as near:
        level = near.getpixel((102, 358)) / 257
    assert graph.shown(0.2, 0.7) == pytest.approx([level] * 3, abs=12)
    graph.click(0.25, 0.4)
    assert values(graph).items() >= close(0.25, 0.4).items()
    assert not graph.errors


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
