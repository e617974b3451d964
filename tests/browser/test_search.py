"""The node search box finds the right node first, in three languages."""

import pytest

from tests.support.search_words import WORDS

OURS = """() => [...document.querySelectorAll(".option-container .p-tag, .option-container [data-testid=node-id-badge]")]
  .map((id) => id.textContent)
  .filter((id) => id.startsWith("MagicBokeh"))"""


@pytest.fixture
def translated(request, canvas):
    """The page in a language, with ids in the search box."""
    canvas.host.post("/settings", {"Comfy.Locale": request.param, "Comfy.NodeSearchBoxImpl.ShowIdName": True})
    canvas.open()
    yield canvas, WORDS[request.param]
    canvas.host.post("/settings", {"Comfy.Locale": "en", "Comfy.NodeSearchBoxImpl.ShowIdName": False})


@pytest.mark.parametrize("translated", WORDS, indirect=True)
def test_the_right_node_comes_first(translated):
    canvas, words = translated
    canvas.run("() => app.graph.clear()")
    canvas.page.mouse.dblclick(700, 300)
    canvas.wait(1500)
    wrong = {}
    for node, (in_name, aliases) in words.items():
        for word in in_name + (aliases if canvas.host.version != "0.3.64" else []):
            canvas.page.keyboard.press("Control+a")
            canvas.page.keyboard.insert_text(word)
            for _ in range(10):  # the list follows the word in its own time
                canvas.wait(400)
                found = canvas.run(OURS)
                if found[:1] == [node]:
                    break
            else:
                wrong[word] = found[:3]
    assert not wrong
    assert not canvas.errors
