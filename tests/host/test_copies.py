"""Two copies of the pack side by side, in folders out of which ComfyUI serves no pages."""

import urllib.error
import urllib.parse
import urllib.request

import pytest

from tests.host.conftest import Host, link_pack
from tests.host.test_pack import prompt

NAMES = ["magic bokeh", "Bokéh"]


@pytest.fixture(scope="session")
def host(request, tmp_path_factory):
    def install(place):
        for name in NAMES:
            link_pack(place.with_name(name))

    server = Host(*request.param, tmp_path_factory.mktemp("copies"), install)
    yield server
    server.process.terminate()
    server.process.wait(30)


def test_each_thing_is_told_once(host):
    lines = [line for line in host.start_log.splitlines() if "MagicBokeh is" in line]
    assert sorted("installed twice" in line for line in lines) == [False, True]
    twice, named = sorted(lines, key=lambda line: "rename the folder" in line)
    assert all(str(host.base / "custom_nodes" / name) in twice for name in NAMES)
    assert any(repr(name) in named for name in NAMES)
    assert "Traceback" not in host.log


def test_scripts_and_blueprints_are_offered_once(host):
    scripts = [path for path in host.get("/extensions") if path.endswith("/focus.js")]
    assert len(scripts) == 1
    if host.version != "0.3.64":  # it has no blueprints
        assert [entry["name"] for entry in host.get("/global_subgraphs").values()].count("MagicBokeh Portrait") == 1


def test_comfyui_does_not_serve_these_names(host):
    """If this fails, newer versions do, and the line in the log can go."""
    (script,) = (path for path in host.get("/extensions") if path.endswith("/focus.js"))
    with pytest.raises(urllib.error.HTTPError, match="404"):
        urllib.request.urlopen(host.url + script, timeout=60)


def test_nodes_work(host):
    status = host.run(prompt("lens_blur"))["status"]
    assert status["status_str"] == "success", status
