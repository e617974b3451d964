"""A real Chromium in front of every ComfyUI found, in both of its renderers where it has two."""

import shutil

import pytest

from tests.host.conftest import HOSTS, Host

try:
    from playwright.sync_api import Page, sync_playwright
except ModuleNotFoundError:
    sync_playwright = None

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
MISSING = [name for name, there in (("ComfyUI", HOSTS), ("Playwright", sync_playwright), ("Chromium", CHROMIUM)) if not there]
collect_ignore_glob = ["test_*.py"] if MISSING else []
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--disable-background-networking", "--disable-component-update"]
FIRST_WITH_NODES_2 = (0, 4)


def pytest_terminal_summary(terminalreporter):
    if MISSING:
        terminalreporter.write_line(f"tests/browser skipped: there is no {' and no '.join(MISSING)}")


def pytest_generate_tests(metafunc):
    if "place" in metafunc.fixturenames:
        places = []
        for path, python in HOSTS:
            version = tuple(int(part) for part in path.name.rpartition("-")[2].split("."))
            places += [(path, python, modern) for modern in ([False, True] if version >= FIRST_WITH_NODES_2 else [False])]
        names = [f"{path.name}-{'nodes2' if modern else 'classic'}" for path, _, modern in places]
        metafunc.parametrize("place", places, ids=names, indirect=True, scope="session")


@pytest.fixture(scope="session")
def browser():
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield chromium
        chromium.close()


@pytest.fixture(scope="session")
def servers(tmp_path_factory):
    """Started when first asked for."""
    started: dict[str, Host] = {}

    def get(path, python) -> Host:
        if str(path) not in started:
            started[str(path)] = Host(path, python, tmp_path_factory.mktemp("comfyui"))
        return started[str(path)]

    yield get
    for server in started.values():
        server.process.terminate()


@pytest.fixture(scope="session")
def place(request, servers) -> tuple[Host, bool]:
    path, python, modern = request.param
    return servers(path, python), modern


class Canvas:
    """ComfyUI's page with an empty canvas."""

    def __init__(self, page: "Page", host: Host, modern: bool):
        self.page, self.host, self.modern = page, host, modern
        self.errors: list[str] = []
        # ComfyUI 0.3.64's page has an error of its own.
        page.on("pageerror", lambda error: self.errors.append(str(error)) if "magicbokeh" in (error.stack or "") else None)
        host.post("/settings", {"Comfy.VueNodes.Enabled": modern, "Comfy.TutorialCompleted": True})
        self.open()

    def open(self) -> None:
        self.page.goto(self.host.url)
        self.ready()

    def ready(self) -> None:
        self.page.wait_for_function("window.app?.graph && window.app.vueAppReady", timeout=60000)
        self.page.wait_for_timeout(1500)

    def run(self, script: str, *values):
        return self.page.evaluate(script, *values)

    def wait(self, milliseconds: int = 700) -> None:
        self.page.wait_for_timeout(milliseconds)

    def snapshot(self) -> None:
        """What undo goes back to."""
        self.run("() => window.dispatchEvent(new MouseEvent('mouseup'))")
        self.wait(300)

    @property
    def stage(self):
        return self.page.get_by_test_id("magicbokeh-stage").last

    def hint(self) -> str:
        return self.page.get_by_test_id("magicbokeh-hint").last.inner_text()

    def values(self) -> dict:
        """Widgets of the last Defocus Map."""
        return self.run(
            """() => {
              const graphs = [app.graph, ...(app.graph.subgraphs?.values() ?? [])];
              const node = graphs.flatMap((graph) => graph.nodes).findLast((node) => node.comfyClass === "MagicBokehDefocusMap");
              return Object.fromEntries(node.widgets.map((widget) => [widget.name, widget.value]));
            }"""
        )

    def point(self, x: float, y: float) -> tuple[float, float]:
        """Where on the screen a place of the photo (512 x 512) is."""
        box = self.stage.bounding_box()
        side = min(box["width"], box["height"])
        left, top = box["x"] + (box["width"] - side) / 2, box["y"] + (box["height"] - side) / 2
        return left + x * side, top + y * side

    def click(self, x: float, y: float) -> None:
        self.page.mouse.click(*self.point(x, y))
        self.wait(300)


@pytest.fixture
def canvas(browser, place):
    context = browser.new_context(viewport={"width": 1500, "height": 1000})
    opened = Canvas(context.new_page(), *place)
    yield opened
    context.close()
