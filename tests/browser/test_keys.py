"""Keys of a focus pull, set on the frames of a clip by real mouse and keys."""

import re

import pytest

FRAMES = 12
CLIP = """(frames) => {
  const [photo] = app.graph.nodes.filter((node) => node.comfyClass === "LoadImage");
  const [focus] = app.graph.nodes.filter((node) => node.comfyClass === "MagicBokehDefocusMap");
  const repeat = LiteGraph.createNode("RepeatImageBatch");
  repeat.pos = [40, 800];
  app.graph.add(repeat);
  repeat.widgets.find((widget) => widget.name === "amount").value = frames;
  photo.connect(0, repeat, 0);
  repeat.connect(0, focus, focus.inputs.findIndex((input) => input.name === "image"));
}"""


@pytest.fixture
def clip(graph):
    graph.run(CLIP, FRAMES)
    graph.wait()
    graph.get_depth()
    graph.wait(500)
    graph.snapshot()
    return graph


def timeline(page):
    return page.page.get_by_test_id("magicbokeh-timeline").last


def at(page, frame: int) -> tuple[float, float]:
    """Where on the screen a frame is."""
    box = timeline(page).bounding_box()
    zoom = box["width"] / timeline(page).evaluate("strip => strip.clientWidth")
    return box["x"] + zoom * 10 + (box["width"] - 20 * zoom) * frame / (FRAMES - 1), box["y"] + box["height"] / 2


def go(page, frame: int) -> None:
    page.page.mouse.click(*at(page, frame))
    page.wait(300)


def key(page) -> None:
    page.page.get_by_test_id("magicbokeh-key").last.click()
    page.wait(500)


def keys(page) -> str:
    return page.values()["keys"]


def test_a_photo_has_no_timeline(graph):
    graph.get_depth()
    assert not timeline(graph).is_visible() and not graph.page.get_by_test_id("magicbokeh-key").last.is_visible()


def test_keys_are_set_moved_and_taken_back(clip):
    assert timeline(clip).is_visible() and f"frame 0 of {FRAMES}" in clip.hint()
    clip.click(0.3, 0.7)
    assert keys(clip) == "", "without keys a click is the focus of all frames"
    key(clip)
    assert re.fullmatch(r"0: \(0\.(29|30)\d*, 0\.(69|70)\d*\)|0: \(0\.3, 0\.7\)", keys(clip))
    first = keys(clip)
    go(clip, 11)
    assert f"frame 11 of {FRAMES}" in clip.hint()
    clip.click(0.8, 0.3)
    both = keys(clip)
    assert both.startswith(f"{first}, 11: (0.") and both.count(":") == 2
    clip.page.get_by_test_id("magicbokeh-move").last.click()
    clip.wait(600)
    assert keys(clip) == f"{both} ease"
    clip.page.mouse.move(*at(clip, 11))
    clip.page.mouse.down()
    clip.page.mouse.move(*at(clip, 8), steps=5)
    clip.page.mouse.up()
    clip.wait(600)
    moved = keys(clip)
    assert moved == f"{both} ease".replace("11:", "8:") and f"frame 8 of {FRAMES}" in clip.hint()
    clip.page.keyboard.press("Control+z")
    clip.wait(1500)
    assert keys(clip) == f"{both} ease"
    clip.page.keyboard.press("Control+y")
    clip.wait(1500)
    assert keys(clip) == moved
    assert clip.prompt()["keys"] == moved
    clip.page.reload()
    clip.ready()
    clip.wait(1500)
    assert keys(clip) == moved and timeline(clip).is_visible()
    assert not clip.errors


def test_focus_between_keys_is_that_of_the_run(clip):
    clip.of_node("void Object.assign(node.widgets.find((widget) => widget.name === 'keys'), { value: '0: 0.2, 10: 0.8 k 40' })")
    clip.wait(900)
    go(clip, 5)
    assert clip.hint().startswith("Focus 0.500 (keys)") and "K 40" in clip.hint()
    clip.of_node("void Object.assign(node.widgets.find((widget) => widget.name === 'keys'), { value: 'near' })")
    clip.wait(900)
    assert "0: 0.82" in clip.hint(), "says what a key looks like"
    assert not clip.errors


def test_the_keyboard_is_enough(clip):
    timeline(clip).focus()
    for pressed in ("End", "Enter", "ArrowLeft", "ArrowLeft", "Enter", "PageDown"):
        clip.page.keyboard.press(pressed)
        clip.wait(400)
    assert [int(part.split(":")[0]) for part in re.findall(r"\d+:", keys(clip))] == [9, 11]
    assert f"frame 11 of {FRAMES}" in clip.hint()
    clip.page.keyboard.press("Delete")
    clip.wait(400)
    assert re.findall(r"\d+:", keys(clip)) == ["9:"]
    clip.stage.focus()
    for pressed in ("+", "+"):
        clip.page.keyboard.press(pressed)
        clip.wait(500)
    values = clip.values()
    assert f"k {values['k']}" in values["keys"] and f"k {values['k'] + 2}" in values["keys"], (
        "the key before keeps the k there was"
    )
    assert not clip.errors
