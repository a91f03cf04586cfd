"""The rendered study in a real browser, from a copied folder: nothing fails, nothing is fetched, every link opens."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote, urlparse

import pytest

from dfxlib.system.files import project_root
from tools.publish import publish
from tools.site import build

pytestmark = pytest.mark.study
sync_api = pytest.importorskip("playwright.sync_api", reason="needs Playwright; make browser installs it")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")


@pytest.fixture(scope="module")
def browser() -> Iterator["sync_api.Browser"]:
    if not CHROMIUM:
        pytest.skip("needs Chromium; make browser installs it")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def copied(smoke: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run's folder somewhere else, as it would be sent to a colleague."""
    return Path(shutil.copytree(smoke, tmp_path_factory.mktemp("sent") / "a study"))


@pytest.fixture(scope="module")
def site(copied: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site of a project that has run and published this study."""
    root = tmp_path_factory.mktemp("project")
    (root / "runs").mkdir()
    (root / "runs" / "smoke").symlink_to(copied)
    for part in ("notebooks", "docs"):  # notebooks show a drawing of the docs
        shutil.copytree(project_root(Path(__file__).parent) / part, root / part)
    publish(copied, root / "results" / "smoke")
    build(root, root / "a site", pictures=True)
    return root / "a site"


@pytest.fixture(scope="module")
def pages(copied: Path) -> list[Path]:
    found = sorted(copied.rglob("*.html"))
    assert len(found) == len(list(copied.rglob(".done"))) + 1 > 1, "a page for each run, and the entrance"
    return found


@pytest.fixture()
def tab(browser: "sync_api.Browser") -> Iterator[tuple["sync_api.Page", list[str]]]:
    """A page, and the list that every complaint goes to."""
    complaints: list[str] = []
    page = browser.new_page()
    page.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("requestfailed", lambda request: complaints.append(f"failed: {request.url}"))
    page.on(
        "request", lambda request: complaints.append(f"asks for {request.url}") if is_foreign(request.url) else None
    )
    yield page, complaints
    page.close()


def is_foreign(address: str) -> bool:
    return urlparse(address).scheme not in ("file", "data", "blob")


def test_no_page_complains_or_asks_the_network(tab: tuple, pages: list[Path]) -> None:
    page, complaints = tab
    for path in pages:
        page.goto(path.as_uri(), wait_until="networkidle")
        assert complaints == [], path


def test_every_picture_is_drawn_and_described(tab: tuple, pages: list[Path]) -> None:
    page, _ = tab
    for path in pages:
        page.goto(path.as_uri())
        pictures = page.eval_on_selector_all("img", "all => all.map(i => [i.complete ? i.naturalWidth : 0, i.alt])")
        assert all(width > 0 for width, _ in pictures), path
        assert all(words.startswith("Figure ") and ":" in words for _, words in pictures), (path, pictures)
    page.goto(pages[0].as_uri())
    assert page.locator("img").count() > 0


def test_every_link_opens_and_every_anchor_is_there(tab: tuple, pages: list[Path]) -> None:
    page, complaints = tab
    wanted: dict[str, set[str]] = {}  # page: fragments that some page leads to
    for path in pages:
        page.goto(path.as_uri())
        links = page.eval_on_selector_all("a[href]", "all => all.map(a => a.href)")
        assert any("#" in link for link in links), "a list of contents"
        for address, _, fragment in (link.partition("#") for link in links if not is_foreign(link)):
            wanted.setdefault(address, set()).add(unquote(fragment))
    for address, fragments in wanted.items():
        page.goto(address)
        for fragment in fragments - {""}:
            assert page.evaluate("name => document.getElementById(name) !== null", fragment), (address, fragment)
    assert complaints == []


def test_the_entrance_leads_to_every_notebook_and_each_leads_back(tab: tuple, copied: Path) -> None:
    page, _ = tab
    page.goto((copied / "report" / "index.html").as_uri())
    links = page.eval_on_selector_all("a[href$='notebook.html']", "all => all.map(a => a.href)")
    assert len(links) == len(list(copied.rglob(".done"))) - 1, "every run but the report's own"
    for link in links:
        page.goto(link)
        page.get_by_role("link", name="To the report of this study").click()
        assert page.url.endswith("report/index.html")


def test_code_is_folded_and_opens(tab: tuple, copied: Path) -> None:
    page, _ = tab
    page.goto((copied / "manifest" / "notebook.html").as_uri())
    code = page.locator("details .jp-Editor").first
    assert not code.is_visible()
    page.locator("details > summary").first.click()
    assert code.is_visible()
    page.goto((copied / "report" / "index.html").as_uri())
    assert page.locator(".jp-Editor").count() == 0, "the entrance shows results only"


def test_the_site_opens_from_a_file_and_every_link_leads_somewhere(tab: tuple, site: Path) -> None:
    page, complaints = tab
    ways = {(site / "index.html").as_uri()}
    seen: set[str] = set()
    while ways:
        address = ways.pop()
        seen.add(address)
        page.goto(address)
        assert complaints == [], address
        pictures = page.eval_on_selector_all("img", "all => all.map(i => [i.complete ? i.naturalWidth : 0, i.alt])")
        assert all(width > 0 and words for width, words in pictures), address
        links = {link.partition("#")[0] for link in page.eval_on_selector_all("a[href]", "all => all.map(a => a.href)")}
        for link in {link for link in links if link and not is_foreign(link)}:
            assert Path(unquote(urlparse(link).path)).is_file(), (address, link)
            ways |= {link} - seen if link.endswith(".html") else set()
    assert len(seen) == len(list(site.rglob("*.html"))), "every page is reached from the index"


@pytest.mark.parametrize(("scheme", "dark"), [("light", False), ("dark", True)])
def test_pages_follow_the_readers_colour_scheme(
    browser: "sync_api.Browser", site: Path, scheme: str, dark: bool
) -> None:
    page = browser.new_page(color_scheme=scheme)
    brightness = "element => getComputedStyle(element).getPropertyValue('--jp-layout-color0')"
    for place in ("index.html", "results/smoke/index.html", "runs/smoke/report/index.html"):
        page.goto((site / place).as_uri())
        assert (page.locator("body").evaluate(brightness).strip() == "#111") == dark
    page.close()
