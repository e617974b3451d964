"""What nodes say on their faces: missing models, what a portrait photo brings, what a camera makes of a scene."""

import pytest

ADD = """(kind) => {
  app.graph.clear();
  const node = LiteGraph.createNode(kind);
  node.pos = [300, 200];
  app.graph.add(node);
  Object.assign(app.canvas.ds, { scale: 1 });
  [app.canvas.ds.offset[0], app.canvas.ds.offset[1]] = [60, 20];
  app.canvas.setDirty(true, true);
}"""
# As if these files were not there: the page has asked the server for what there is, and goes by that.
WITHOUT = """([name, pattern]) => {
  const widget = app.graph.nodes[0].widgets.find((widget) => widget.name === name);
  widget.options.values = widget.options.values.filter((file) => !new RegExp(pattern).test(file));
}"""
PUT = """([name, value]) => {
  const widget = app.graph.nodes[0].widgets.find((widget) => widget.name === name);
  widget.value = value;
  widget.callback?.(value);
}"""
DOWNLOAD = {"en": "Download it", "zh": "请下载", "ja": "ダウンロード"}


def add(canvas, kind: str) -> None:
    canvas.run(ADD, kind)
    canvas.wait(1500)


def without(canvas, widget: str, pattern: str) -> None:
    canvas.run(WITHOUT, [widget, pattern])
    canvas.wait(1500)


def note(canvas) -> str:
    return canvas.page.get_by_test_id("magicbokeh-note").last.inner_text()


def links(canvas) -> list[str]:
    return [link.get_attribute("href") for link in canvas.page.get_by_test_id("magicbokeh-note").last.get_by_role("link").all()]


def room(canvas) -> tuple[float, float]:
    """Lower edge of the note and of its node on the screen."""
    box = canvas.page.get_by_test_id("magicbokeh-note").last.bounding_box()
    bottom = """() => {
      const [, y, , height] = app.graph.nodes[0].getBounding();
      return y + height + app.canvas.ds.offset[1] + app.canvas.canvas.getBoundingClientRect().top;
    }"""
    return box["y"] + box["height"], canvas.run(bottom)


def test_nothing_is_said_where_nothing_is_missing(canvas):
    for kind in ("MagicBokehLoader", "MagicBokehDepthLoader", "MagicBokehPortraitPhoto"):
        add(canvas, kind)
        assert not note(canvas)
    assert not canvas.errors


@pytest.mark.parametrize("language", DOWNLOAD)
def test_missing_weights_with_their_links_and_folders(canvas, language):
    with canvas.language(language):
        add(canvas, "MagicBokehLoader")
        small = canvas.run("() => app.graph.nodes[0].size[1]")
        canvas.run(PUT, ["checkpoint", "lora.pkl"])
        canvas.run(PUT, ["base", "automatic"])
        without(canvas, "checkpoint", "lora.pkl")
        without(canvas, "base", "[/.]|diffusion")
        said = note(canvas)
        for words in (
            "lora.pkl",
            "models/magicbokeh",
            "v2-1_512-ema-pruned.safetensors",
            "models/checkpoints",
            DOWNLOAD[language],
        ):
            assert words in said
        assert [link.rpartition("/")[2] for link in links(canvas)] == ["lora.pkl", "v2-1_512-ema-pruned.safetensors"]
        note_end, node_end = room(canvas)
        assert note_end <= node_end + 1
        # Found again, as after R.
        canvas.run("() => app.refreshComboInNodes()")
        canvas.wait(2000)
        assert not note(canvas)
        assert canvas.modern or canvas.run("() => app.graph.nodes[0].size[1]") == small
        assert not canvas.errors


def test_a_base_under_any_name_will_do(canvas):
    add(canvas, "MagicBokehLoader")
    canvas.run(PUT, ["checkpoint", "lora.pkl"])
    canvas.run(PUT, ["base", "automatic"])
    without(canvas, "base", "2[-_.]1")
    canvas.run("() => app.graph.nodes[0].widgets.find(({ name }) => name === 'base').options.values.push('sd21.safetensors')")
    canvas.wait(1200)
    assert "If it is not there under another name" in note(canvas)
    canvas.run(PUT, ["base", "sd21.safetensors"])
    canvas.wait(1200)
    assert not note(canvas)


def test_other_files_that_are_gone(canvas):
    add(canvas, "MagicBokehLoader")
    canvas.run(PUT, ["checkpoint", "mine.safetensors"])
    canvas.wait(1200)
    assert note(canvas) == "mine.safetensors is missing. Put it into models/magicbokeh and press R, or choose another."
    assert not links(canvas)


def test_a_depth_model_that_not_every_photo_needs(canvas):
    add(canvas, "MagicBokehDepthLoader")
    without(canvas, "model", "^(?!automatic)")
    assert links(canvas)[0].endswith("/depth_anything_v2_vits_fp32.safetensors") and "models/depthanything" in note(canvas)
    assert "Only photos" not in note(canvas)
    canvas.run(
        """() => {
          const photo = LiteGraph.createNode("MagicBokehPortraitPhoto");
          app.graph.add(photo);
          app.graph.nodes[0].connect(0, photo, photo.inputs.findIndex((input) => input.name === "depth_model"));
        }"""
    )
    canvas.wait(1200)
    said = canvas.page.get_by_test_id("magicbokeh-note").all_inner_texts()
    assert any("Only photos without a depth map of their own need it." in text for text in said)
    assert not canvas.errors


def test_a_portrait_photo_says_what_it_has_brought(canvas):
    add(canvas, "MagicBokehPortraitPhoto")
    canvas.run(
        """() => {
          const show = LiteGraph.createNode("PreviewImage");
          show.pos = [900, 200];
          app.graph.add(show);
          app.graph.nodes[0].connect(0, show, 0);
        }"""
    )
    canvas.run(PUT, ["refine", 1 + canvas.modern])  # not what ComfyUI still has from another test
    canvas.page.keyboard.press("Control+Enter")
    canvas.page.wait_for_function("() => document.querySelector('[data-testid=magicbokeh-note]').innerText", timeout=60000)
    assert "Dynamic Depth" in note(canvas)
    canvas.wait()
    note_end, node_end = room(canvas)
    assert note_end <= node_end + 1
    canvas.run(PUT, ["image", "example.png"])
    canvas.wait(1500)
    assert not note(canvas)
    assert not canvas.errors


def test_a_camera_says_what_is_sharp(canvas):
    add(canvas, "MagicBokehCamera")
    canvas.run(
        """() => {
          const [camera, photo, show] = [app.graph.nodes[0], ...["MagicBokehDemoPhoto", "MaskPreview"].map((kind) => LiteGraph.createNode(kind))];
          photo.pos = [20, 200];
          show.pos = [900, 200];
          app.graph.add(photo);
          app.graph.add(show);
          photo.connect(1, camera, camera.inputs.findIndex((input) => input.name === "depth"));
          camera.connect(0, show, 0);
        }"""
    )
    canvas.run(PUT, ["depth_is", "disparity, one distance known"])
    canvas.run(PUT, ["focus_distance", 3 + canvas.modern])  # not what ComfyUI still has from another test
    canvas.page.keyboard.press("Control+Enter")
    canvas.page.wait_for_function("() => document.querySelector('[data-testid=magicbokeh-note]').innerText", timeout=60000)
    lines = note(canvas).splitlines()
    assert lines[0] == f"50 mm, f/1.8, focus at {3 + canvas.modern} m" and lines[2].startswith("Sharp from ")
    canvas.wait()
    note_end, node_end = room(canvas)
    assert note_end <= node_end + 1
    assert not canvas.errors


def test_values_of_dropdowns_in_the_users_language(canvas):
    """ComfyUI 0.3.64 shows the values themselves; what is queued is the same everywhere."""
    with canvas.language("ja"):
        add(canvas, "MagicBokehDefocusMap")
        canvas.run(PUT, ["focus_mode", "nearest subject"])
        canvas.wait(1000)
        shown = canvas.run(
            """() => {
              const widget = app.graph.nodes[0].widgets.find((widget) => widget.name === "focus_mode");
              return [widget.value, widget._displayValue];
            }"""
        )
        old = canvas.host.version == "0.3.64"
        assert shown == ["nearest subject", "nearest subject" if old else "最も近い被写体"]
        if canvas.modern:
            assert canvas.page.get_by_text("最も近い被写体").count()
        assert not canvas.errors
