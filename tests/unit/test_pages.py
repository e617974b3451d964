"""Help pages, languages and words to search for."""

import json
import re
import runpy
from pathlib import Path

import pytest

from magicbokeh_ops.lenses import LENSES
from tests.support import stand_in_host as host
from tests.support.search_words import WORDS

PACK = Path(__file__).parents[2]
LANGUAGES = ("en", "zh", "ja")


def node_ids() -> list[str]:
    text = "\n".join(path.read_text(encoding="utf-8") for path in (PACK / "nodes").glob("*.py"))
    return sorted(re.findall(r'node_id="(\w+)"', text))


def words(language: str) -> dict:
    return json.loads((PACK / "locales" / language / "nodeDefs.json").read_text(encoding="utf-8"))


def keys(tree: dict) -> list:
    return [(key, keys(value) if isinstance(value, dict) else None) for key, value in tree.items()]


@pytest.mark.parametrize("language", LANGUAGES)
def test_all_languages_say_the_same(language):
    assert sorted(words(language)) == node_ids()
    assert keys(words(language)) == keys(words("en"))


def places(named: list) -> dict:
    """Name and tooltip of inputs or outputs, as nodeDefs.json has them, from pairs of key and socket."""
    told = {key: {"name": getattr(one, "display_name", key), "tooltip": getattr(one, "tooltip", None)} for key, one in named}
    return {key: {word: text for word, text in place.items() if text} for key, place in told.items()}


def test_english_is_what_the_nodes_say():
    kinds = [kind for kind in vars(host.nodes).values() if hasattr(kind, "define_schema")]
    said = {}
    for schema in (kind.define_schema() for kind in kinds):
        said[schema.node_id] = {"display_name": schema.display_name, "description": schema.description}
        inputs = places([(one.id, one) for one in schema.inputs])
        outputs = places([(str(i), one) for i, one in enumerate(schema.outputs)])
        said[schema.node_id] |= {key: told for key, told in (("inputs", inputs), ("outputs", outputs)) if told}
    assert said == words("en")


def help_page(name: str, language: str) -> Path:
    """Where ComfyUI looks: first for a page of the language, then for the one of all others."""
    docs = PACK / "web" / "docs"
    return docs / f"{name}.md" if language == "en" else docs / name / f"{language}.md"


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("name", node_ids())
def test_every_node_has_a_help_page_with_its_inputs(name, language):
    text = help_page(name, language).read_text(encoding="utf-8")
    said = words(language)[name]
    assert text.startswith(f"# {said['display_name']}\n")
    # Links are relative to the folder of the English pages, in all languages.
    pictures = re.findall(r"\]\((images/[^)]+)\)", text)
    assert all((PACK / "web" / "docs" / picture).exists() for picture in pictures)
    rows = re.findall(r"^\| ([\w, 、]+) \|", text, re.MULTILINE)[1:]
    named = [part for row in rows for part in re.split(", |、", row)]
    assert set(named) <= {entry["name"] for entry in said.get("inputs", {}).values()}
    if language != "en":
        english = help_page(name, "en").read_text(encoding="utf-8")
        assert pictures == re.findall(r"\]\((images/[^)]+)\)", english)
        assert re.findall(r"^\*\*|^\||^#", text, re.MULTILINE) == re.findall(r"^\*\*|^\||^#", english, re.MULTILINE)
        keys = {entry["name"]: key for key, entry in said.get("inputs", {}).items()}
        in_english = re.findall(r"^\| ([\w, ]+) \|", english, re.MULTILINE)[1:]
        assert ", ".join(keys[part] for part in named) == ", ".join(in_english)


@pytest.mark.parametrize("language", LANGUAGES)
def test_help_describes_every_lens(language):
    text = help_page("MagicBokehLensBlur", language).read_text(encoding="utf-8")
    assert re.findall(r"^\| \*([\w ]+)\* \|", text, re.MULTILINE) == list(LENSES)


@pytest.mark.parametrize("language", LANGUAGES)
def test_words_are_where_the_search_looks(language):
    """And no other node claims them. Which comes first is ComfyUI's doing: tests/browser/test_search.py."""
    aliases = runpy.run_path(str(PACK / "nodes" / "search.py"))["ALIASES"]
    assert sorted(aliases) == node_ids()
    for node, (in_name, others) in WORDS[language].items():
        for word in in_name:
            name = words(language)[node]["display_name"]
            assert word in name.lower() or word in node.lower(), (word, name)
        for word in in_name + others:
            assert [name for name in aliases if word in aliases[name]] == [node], word
