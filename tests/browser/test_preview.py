"""The preview and the focus plane of Defocus Map, and what they take from the lens behind it."""

import pytest

LENS = """(name) => {
  const node = app.graph.nodes.find((node) => node.comfyClass === "MagicBokehDefocusMap");
  const lens = LiteGraph.createNode(name);
  lens.pos = [900, 80];
  app.graph.add(lens);
  const slot = (of, name) => of.findIndex((other) => other.name === name);
  node.connect(slot(node.outputs, "k"), lens, slot(lens.inputs, name === "MagicBokehSweep" ? "k_to" : "k"));
}"""
PUT = """([kind, values]) => {
  const node = app.graph.nodes.findLast((node) => node.comfyClass === kind);
  for (const [name, value] of Object.entries(values)) {
    const widget = node.widgets.find((widget) => widget.name === name);
    widget.value = value;
    widget.callback?.(value);
  }
}"""
FOCUS, BLUR = "MagicBokehDefocusMap", "MagicBokehLensBlur"


def put(graph, kind: str, **values) -> None:
    graph.run(PUT, [kind, values])
    graph.wait(1500)


def view(graph, name: str) -> None:
    graph.page.get_by_test_id(f"magicbokeh-{name}").last.click()
    graph.wait(1200)


def looks(graph) -> list[int]:
    """Colours all over the view."""
    places = [(0.03 + 0.1 * i, 0.03 + 0.1 * j) for i in range(10) for j in range(9)]
    return [level for place in places for level in graph.shown(*place)]


def change(before: list[int], after: list[int]) -> float:
    return sum(abs(a - b) for a, b in zip(before, after)) / len(before)


def preview(graph, lens: str = BLUR) -> None:
    graph.run(LENS, lens)
    graph.wait(600)
    put(graph, FOCUS, k=60)
    graph.get_depth()
    view(graph, "preview")


@pytest.mark.parametrize("lens", [BLUR, "MagicBokehSweep"])
def test_the_preview_follows_the_lens(graph, lens):
    preview(graph, lens)
    plain = looks(graph)
    for values in (
        {"lens": "mirror"},
        {"lens": "vintage swirl"},
        {"lens": "ideal", "fringing": 0.5},
        {"fringing": 0, "far_scale": 0},
        {"far_scale": 1, "blades": 3, "star": 0.9},
    ):
        put(graph, lens, **values)
        assert change(plain, looks(graph)) > 0.5, values
    put(graph, lens, blades=0, star=0)
    assert looks(graph) == plain
    assert not graph.errors


def test_a_tilt_turns_the_focus_map_and_the_preview(graph):
    preview(graph)
    put(graph, FOCUS, focus_mode="value", focus=0.5)
    level = looks(graph)
    put(graph, FOCUS, tilt=4, tilt_direction=90)
    assert "tilt 4.00" in graph.hint() and "the lens has its own: tilt, tilt_direction" in graph.hint()
    assert change(level, looks(graph)) > 2
    view(graph, "map")
    (_, _, blue_left), (red_right, _, _) = graph.shown(0.02, 0.3), graph.shown(0.98, 0.3)
    assert blue_left < graph.shown(0.98, 0.3)[2] and red_right < graph.shown(0.02, 0.3)[0], (
        "in front on the left, behind on the right"
    )
    graph.get_depth()
    assert "tilt 4.00" in graph.hint()
    assert not graph.errors


def test_what_the_preview_leaves_out_is_said(graph):
    preview(graph)
    assert "not shown" not in graph.hint()
    put(graph, BLUR, highlight_boost=2, grain=1)
    graph.run(
        """() => {
          const of = (kind) => app.graph.nodes.find((node) => node.comfyClass === kind);
          const lens = of("MagicBokehLensBlur");
          of("LoadImage").connect(0, lens, lens.inputs.findIndex((input) => input.name === "iris"));
        }"""
    )
    graph.wait(1000)
    assert graph.hint().endswith("not shown: iris, highlight_boost, grain")
    view(graph, "map")
    assert "not shown" not in graph.hint()


def test_the_lens_is_found_across_subgraphs_and_reroutes(graph):
    preview(graph)
    plain = looks(graph)
    graph.run(
        """() => {
          const of = (kind) => app.graph.nodes.find((node) => node.comfyClass === kind);
          const [node, lens] = [of("MagicBokehDefocusMap"), of("MagicBokehLensBlur")];
          const reroute = LiteGraph.createNode("Reroute");
          app.graph.add(reroute);
          node.connect(node.outputs.findIndex((output) => output.name === "k"), reroute, 0);
          reroute.connect(0, lens, lens.inputs.findIndex((input) => input.name === "k"));
          lens.widgets.find((widget) => widget.name === "lens").value = "mirror";
        }"""
    )
    graph.wait(1500)
    ring = looks(graph)
    assert change(plain, ring) > 0.5
    inner = "app.graph.nodes.find((other) => other.comfyClass === 'MagicBokehLensBlur')"
    graph.run(f"() => void app.graph.convertToSubgraph(new Set([{inner}]))")
    graph.wait(2000)
    assert looks(graph) == ring
    assert not graph.errors


def test_three_points_are_dragged_one_at_a_time(graph):
    put(graph, FOCUS, focus_mode="three points", focus_x=0.5, focus_y=0.2)
    graph.snapshot()
    graph.get_depth()
    assert "(three points), tilt" in graph.hint()
    before = graph.values()
    graph.drag((0.28, 0.72), (0.2, 0.5), (0.1, 0.6))
    dragged = graph.values()
    expected = {"focus_x2": pytest.approx(0.1, abs=0.004), "focus_y2": pytest.approx(0.6, abs=0.004)}
    assert dragged == {**before, **expected}
    graph.page.keyboard.press("ArrowRight")
    graph.wait(1000)
    assert graph.values() == {**dragged, "focus_x2": pytest.approx(dragged["focus_x2"] + 0.005, abs=1e-4)}
    graph.click(0.72, 0.7)
    assert graph.values()["focus_x3"] == pytest.approx(0.72, abs=0.004) and graph.values()["focus_mode"] == "three points"
    moved = {"focus_x2": dragged["focus_x2"] + 0.005, "focus_x3": 0.75}
    for values in (moved, dragged, before):
        graph.page.keyboard.press("Control+z")
        graph.wait(1500)
        assert (
            graph.values().items()
            >= {name: pytest.approx(value) for name, value in values.items() if name != "focus_mode"}.items()
        )
    put(graph, FOCUS, focus_x=0.5, focus_y=0.75)
    assert graph.hint() == "The three points lie on a line: move one of them away from it"
    assert not graph.errors
