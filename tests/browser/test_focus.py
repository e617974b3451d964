"""Click to focus, by real mouse and keys."""

import json
from pathlib import Path

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
  const near = make("LoadImageMask", 40, 520);
  const focus = make("MagicBokehDefocusMap", 420, 80);
  const put = (node, name, value) => {
    const widget = node.widgets.find((widget) => widget.name === name);
    widget.value = value;
    widget.callback?.(value);
  };
  put(photo, "image", "photo.jpg");
  put(near, "image", "near.png");
  put(near, "channel", "red");
  near.connect(0, focus, focus.inputs.findIndex((input) => input.name === "disparity"));
  photo.connect(0, focus, focus.inputs.findIndex((input) => input.name === "image"));
  app.canvas.ds.scale = 1;
  app.canvas.ds.offset = [60, 20];
  app.canvas.setDirty(true, true);
}"""


@pytest.fixture
def graph(canvas):
    """Photo and disparity from files, into Defocus Map."""
    folder = canvas.host.base / "input"
    (folder / "photo.jpg").write_bytes((ASSETS / "demo.jpg").read_bytes())
    with Image.open(ASSETS / "demo_disparity.png") as near:
        near.point(lambda value: value / 257).convert("L").save(folder / "near.png")
    canvas.run(BUILD)
    canvas.wait(1500)
    canvas.snapshot()
    return canvas


def get_depth(canvas):
    canvas.page.get_by_test_id("magicbokeh-depth").last.click()
    canvas.page.wait_for_function(
        "() => /0\\.\\d{3}/.test([...document.querySelectorAll('[data-testid=magicbokeh-hint]')].at(-1)?.textContent)",
        timeout=60000,
    )
    canvas.wait(300)


def test_click_drag_keys_and_undo(graph):
    assert graph.hint() == "Get depth shows what will be sharp"
    graph.click(0.25, 0.4)
    assert graph.values()["focus_x"] == pytest.approx(0.25, abs=0.004)
    assert graph.values()["focus_y"] == pytest.approx(0.4, abs=0.004)
    position = graph.run("() => [...app.graph.nodes.find((n) => n.comfyClass === 'MagicBokehDefocusMap').pos]")
    graph.page.mouse.move(*graph.point(0.25, 0.4))
    graph.page.mouse.down()
    graph.page.mouse.move(*graph.point(0.5, 0.5), steps=4)
    graph.page.mouse.move(*graph.point(0.7, 0.6), steps=4)
    graph.page.mouse.up()
    graph.wait(500)
    dragged = graph.values()
    assert (dragged["focus_x"], dragged["focus_y"]) == (pytest.approx(0.7, abs=0.004), pytest.approx(0.6, abs=0.004))
    assert graph.run("() => [...app.graph.nodes.find((n) => n.comfyClass === 'MagicBokehDefocusMap').pos]") == position
    for key in ("ArrowRight", "Shift+ArrowDown", "+"):
        graph.page.keyboard.press(key)
    graph.wait(700)
    moved = graph.values()
    assert moved["focus_x"] == pytest.approx(dragged["focus_x"] + 0.005, abs=1e-4)
    assert moved["focus_y"] == pytest.approx(dragged["focus_y"] + 0.05, abs=1e-4)
    assert moved["k"] == dragged["k"] + 1
    for expected in (dragged["focus_x"], pytest.approx(0.25, abs=0.004), 0.5):
        graph.page.keyboard.press("Control+z")
        graph.wait(1500)
        assert graph.values()["focus_x"] == expected
    graph.page.keyboard.press("Control+y")
    graph.wait(1500)
    assert graph.values()["focus_x"] == pytest.approx(0.25, abs=0.004)
    graph.click(0.9, 0.1)
    assert graph.values()["focus_x"] == pytest.approx(0.9, abs=0.004)
    assert not graph.errors


def test_depth_focus_map_preview_and_reload(graph):
    get_depth(graph)
    shown = float(graph.hint().split()[1])
    for view in ("photo", "preview", "map"):
        graph.page.get_by_test_id(f"magicbokeh-{view}").last.click()
        graph.wait(800)
        assert graph.page.get_by_test_id(f"magicbokeh-{view}").last.get_attribute("aria-pressed") == "true"
    graph.click(0.8, 0.3)
    assert float(graph.hint().split()[1]) < shown
    before = graph.values()
    graph.wait(1500)
    graph.page.reload()
    graph.ready()
    graph.wait(1500)
    assert graph.values() == before
    assert "Focus 0." in graph.hint()
    assert not graph.errors


@pytest.mark.parametrize("zoom", [0.6, 1.0, 1.4])
def test_click_at_any_zoom(graph, zoom):
    graph.run("(zoom) => { app.canvas.ds.scale = zoom; app.canvas.setDirty(true, true); }", zoom)
    graph.wait(900)
    graph.click(0.8, 0.3)
    assert graph.values()["focus_x"] == pytest.approx(0.8, abs=0.006)
    assert graph.values()["focus_y"] == pytest.approx(0.3, abs=0.006)


def test_another_photo_makes_the_depth_stale(graph):
    get_depth(graph)
    other = Path(graph.host.base) / "input" / "other.png"
    Image.new("RGB", (300, 200), "teal").save(other)
    graph.run(
        """() => {
          const node = app.graph.nodes.find((node) => node.comfyClass === "LoadImage");
          const widget = node.widgets.find((widget) => widget.name === "image");
          widget.value = "other.png";
          widget.callback?.("other.png");
        }"""
    )
    graph.wait(2000)
    assert graph.hint() == "The photo has changed: Get depth"


def test_nothing_but_the_focus_runs(graph):
    graph.run(
        """() => {
          const lens = LiteGraph.createNode("MagicBokehLensBlur");
          const save = LiteGraph.createNode("PreviewImage");
          app.graph.add(lens);
          app.graph.add(save);
          lens.connect(0, save, 0);
        }"""
    )
    get_depth(graph)
    last = list(graph.host.get("/history").values())[-1]
    assert last["status"]["status_str"] == "success", json.dumps(last["status"])
