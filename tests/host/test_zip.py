"""The registry's zip, unpacked into a folder whose path has spaces and letters beyond ASCII, as users' paths do."""

import json
import shutil
import urllib.request

import pytest

from tests.host.conftest import Host
from tests.support.registry_zip import PACK, write_zip

WORDS = json.loads((PACK / "locales" / "zh" / "nodeDefs.json").read_text(encoding="utf-8"))
WEB = sorted(path.relative_to(PACK / "web").as_posix() for path in (PACK / "web").rglob("*.*"))


@pytest.fixture(scope="session")
def host(request, tmp_path_factory):
    archive = write_zip(tmp_path_factory.mktemp("zip") / "node.zip")
    base = tmp_path_factory.mktemp("Bilder für später")
    server = Host(*request.param, base, lambda place: shutil.unpack_archive(archive, place))
    yield server
    server.process.terminate()
    server.process.wait(30)


def test_all_nodes_and_their_words_are_there(host):
    assert {name for name in host.get("/object_info") if name.startswith("MagicBokeh")} == set(WORDS)
    found = host.get("/i18n")["zh"]["nodeDefs"]
    assert {name: found[name] for name in WORDS} == WORDS


def test_templates_are_offered(host):
    names = host.get("/workflow_templates")["magicbokeh"]
    assert sorted(names) == sorted(path.stem for path in (PACK / "workflows").glob("*.json"))
    for name in names:
        assert host.get(f"/api/workflow_templates/magicbokeh/{name}.json")["nodes"]


@pytest.mark.parametrize("name", WEB)
def test_scripts_and_help_pages_are_served(host, name):
    with urllib.request.urlopen(f"{host.url}/extensions/magicbokeh/{name}", timeout=60) as answer:
        assert answer.read() == (PACK / "web" / name).read_bytes()
        if name.endswith(("js", "mjs")):  # a browser refuses modules of another type
            assert answer.headers.get_content_type().endswith("javascript")


@pytest.mark.parametrize("name", ["lens_blur", "magicbokeh_portrait"])
def test_workflow_runs(host, name):
    prompt = json.loads((PACK / "tests" / "host" / "workflows" / f"{name}.api.json").read_text(encoding="utf-8"))
    status = host.run(prompt)["status"]
    assert status["status_str"] == "success", status


def test_log_is_quiet(host):
    assert "IMPORT FAILED" not in host.log and "Traceback" not in host.log
    assert not [line for line in host.log.splitlines() if "warn" in line.lower()]
