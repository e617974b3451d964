"""Templates, App mode and the blueprint, in the page."""

import json
import urllib.error
from pathlib import Path

import pytest
from PIL import Image

from tests.host.test_pack import prompt

KNOWN = "() => app.graph.nodes.every((node) => node.subgraph || node.type in LiteGraph.registered_node_types)"


def open_from_dialog(canvas, name: str) -> None:
    canvas.run("() => app.extensionManager.command.execute('Comfy.BrowseTemplates')")
    canvas.page.get_by_text("magicbokeh", exact=True).first.click()
    cards = canvas.page.locator("[data-testid^=template-workflow-]")
    cards.first.wait_for()
    wanted = canvas.page.get_by_test_id(f"template-workflow-{name}")
    shown = 0
    while not wanted.count() and cards.count() > shown:  # an older page adds cards when the last one is seen
        shown = cards.count()
        cards.last.scroll_into_view_if_needed()
        canvas.wait(1000)
    wanted.click()
    canvas.page.wait_for_function("() => app.graph.nodes.some((node) => node.comfyClass === 'MagicBokehDefocusMap')")
    canvas.wait(2500)


def choose_photo(canvas, name: str) -> None:
    canvas.run(
        """(name) => {
          const node = app.graph.nodes.find((node) => node.type === "MagicBokehPortraitPhoto");
          const widget = node.widgets.find((widget) => widget.name === "image");
          widget.value = name;
          widget.callback?.(name);
        }""",
        name,
    )
    canvas.wait(1500)


def by_class(queued: dict) -> dict:
    """A prompt with the nodes' classes in place of their ids."""
    kinds = {key: node["class_type"] for key, node in queued.items()}
    return {
        node["class_type"]: {
            name: [kinds[value[0]], value[1]] if isinstance(value, list) else value for name, value in node["inputs"].items()
        }
        for node in queued.values()
    }


def test_the_photo_template_works_at_once(new_canvas):
    """On the photo that comes with the pack, without any model: from opening the template to a picture it is one action, Run."""
    canvas = new_canvas
    open_from_dialog(canvas, "lens_blur_photo")
    assert canvas.run(KNOWN)
    assert canvas.run_workflow()["outputs"]["6"]["images"]
    assert not canvas.run("() => app.graph.nodes.filter((node) => node.has_errors).length")
    assert not canvas.errors


def test_three_actions_to_a_focused_preview_of_ones_own_photo(canvas):
    """Choose the photo, get its depth, click."""
    photo = Path(canvas.host.base) / "input" / "mine.png"
    Image.linear_gradient("L").resize((300, 300)).convert("RGB").save(photo)
    open_from_dialog(canvas, "lens_blur_photo")
    choose_photo(canvas, "mine.png")
    canvas.get_depth()
    canvas.click(0.3, 0.7)
    assert "(30 %, 70 %)" in canvas.hint()
    assert canvas.page.get_by_test_id("magicbokeh-preview").last.get_attribute("aria-pressed") == "true"
    assert canvas.prompt()["focus_x"] == pytest.approx(0.3, abs=0.004)
    assert not canvas.run("() => app.graph.nodes.filter((node) => node.has_errors).length")
    assert not canvas.errors


def test_undo_in_a_template(canvas):
    """Of what is opened from the dialog; ComfyUI treats nodes that a script has made otherwise."""
    open_from_dialog(canvas, "lens_blur")
    assert canvas.hint() == "Get depth shows what will be sharp"
    canvas.click(0.3, 0.6)
    clicked = canvas.values()
    canvas.get_depth()
    canvas.drag((0.3, 0.6), (0.5, 0.5), (0.8, 0.3))
    dragged = canvas.values()
    assert dragged != clicked
    canvas.page.keyboard.press("Control+z")  # once for the whole drag
    canvas.wait(1500)
    assert canvas.values() == clicked
    for key, values in (("Control+y", dragged), ("Control+z", clicked)):
        canvas.page.keyboard.press(key)
        canvas.wait(1500)
        assert canvas.values() == values
    # What is shown is the node that counts now.
    canvas.click(0.7, 0.8)
    assert canvas.prompt()["focus_x"] == canvas.values()["focus_x"] == pytest.approx(0.7, abs=0.01)
    assert "(70 %, 80 %)" in canvas.hint()
    canvas.page.keyboard.press("ArrowRight")
    canvas.wait(500)
    assert canvas.values()["focus_x"] == pytest.approx(0.705, abs=0.01)
    assert not canvas.errors


def test_app_mode(canvas):
    """On ComfyUI without App mode it is an ordinary graph."""
    open_from_dialog(canvas, "lens_blur.app")
    assert canvas.run(KNOWN)
    if canvas.host.version != "0.3.64":
        for tour in canvas.page.get_by_role("button", name="Skip").all():  # offered once
            tour.click()
        canvas.wait()
        assert not canvas.page.locator("#graph-canvas").is_visible()
        assert canvas.page.get_by_text("Focus", exact=True).last.is_visible()  # the note has the word, too
    canvas.get_depth()
    canvas.click(0.8, 0.3)
    assert "(80 %, 30 %)" in canvas.hint()
    last = canvas.run_workflow()
    assert last["prompt"][2]["2"]["inputs"]["focus_x"] == pytest.approx(0.8, abs=0.004)
    assert last["outputs"]["4"]["images"]
    assert not canvas.errors


def test_a_video_without_sam(canvas):
    """As the note in the template says: its group bypassed, and a point followed."""
    if canvas.host.version == "0.3.64":  # it has no SAM
        return
    canvas.template("video_portrait")
    queued = canvas.run(
        """async () => {
          const group = app.graph.groups.find((group) => group.title === "Subject");
          group.recomputeInsideNodes();
          for (const node of group.nodes) node.mode = 4;
          return (await app.graphToPrompt()).output;
        }"""
    )
    kinds = {node["class_type"]: node["inputs"] for node in queued.values()}
    assert not kinds.keys() & {"CheckpointLoaderSimple", "CLIPTextEncode", "SAM3_VideoTrack", "SAM3_TrackToMask"}
    assert "subject_mask" not in kinds["MagicBokehFocusTrack"]
    assert kinds.keys() >= {"MoGeInference", "MagicBokehSteadyDisparity", "MagicBokehLensBlur", "SaveVideo"}
    assert not canvas.errors


def test_blueprint_is_the_portrait_template(canvas):
    if canvas.host.version == "0.3.64":  # it has no blueprints
        with pytest.raises(urllib.error.HTTPError):
            canvas.host.get("/global_subgraphs")
        return
    canvas.run("() => app.graph.clear()")
    canvas.page.mouse.dblclick(700, 300)
    canvas.wait(1500)
    canvas.page.keyboard.type("MagicBokeh Portrait")
    canvas.wait(2500)
    canvas.page.keyboard.press("Enter")
    canvas.wait(2500)
    canvas.page.mouse.click(700, 300)
    canvas.wait(1500)
    assert canvas.run(KNOWN)
    canvas.of_node(
        """(() => {
          const add = (kind) => {
            const node = LiteGraph.createNode(kind);
            app.graph.add(node);
            return node;
          };
          const [photo, save, show] = ["MagicBokehDemoPhoto", "SaveImage", "PreviewImage"].map(add);
          save.widgets.find((widget) => widget.name === "filename_prefix").value = "magicbokeh";
          photo.connect(0, host, 0);
          host.connect(0, save, 0);
          host.connect(1, show, 0);
        })()"""
    )
    queued = canvas.run("async () => (await app.graphToPrompt()).output")
    wanted, found = by_class(prompt("magicbokeh_portrait")), by_class(queued)
    assert found.keys() == wanted.keys()
    for kind, inputs in wanted.items():  # the page adds widgets that came later, with their neutral values
        assert found[kind].items() >= inputs.items()
    done = canvas.host.run(queued)
    assert done["status"]["status_str"] == "success", json.dumps(done["status"])
    # Click inside it.
    canvas.of_node("void app.canvas.openSubgraph(host.subgraph, host)")
    canvas.wait(1500)
    canvas.run("() => app.extensionManager.command.execute('Comfy.Canvas.FitView')")
    canvas.wait(1500)
    canvas.get_depth()
    canvas.click(0.8, 0.3)
    assert canvas.values("host")["focus_x"] == pytest.approx(0.8, abs=0.01)
    assert canvas.values("host")["focus_y"] == pytest.approx(0.3, abs=0.01)
    assert not canvas.errors
