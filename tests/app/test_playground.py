"""The page, in a real browser. Needs Chromium on PATH."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

import portside
from portside.web.pages import playground

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--no-first-run", "--disable-sync"]

sync_api = pytest.importorskip("playwright.sync_api", reason="the browser tests need playwright (extra 'test')")
pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="the browser tests need Chromium on PATH"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
]


@pytest.fixture(scope="module")
def url(published: Path) -> Iterator[str]:
    with portside.serve(published) as server:
        yield server.url


@pytest.fixture(scope="module")
def browser() -> Iterator[sync_api.Browser]:
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture
def page(browser: sync_api.Browser, url: str) -> Iterator[sync_api.Page]:
    page = browser.new_page()
    problems: list[str] = []
    page.on("pageerror", lambda e: problems.append(str(e)))
    page.on("request", lambda r: problems.append(r.url) if not r.url.startswith((url, "data:", "blob:")) else None)
    page.goto(url)
    page.get_by_role("button", name="colour").wait_for()
    yield page
    page.close()
    assert problems == []


def test_lists_the_models(page: sync_api.Page) -> None:
    listed = page.locator("#models button")
    assert listed.count() == 2
    assert "version 2" in listed.nth(1).inner_text()
    assert "pass" in listed.nth(1).inner_text()
    sync_api.expect(page.locator("#ready")).to_have_text("ready")


def test_a_chosen_picture_is_answered(page: sync_api.Page, colour_source: tuple[Path, Path, Path]) -> None:
    page.get_by_role("button", name="colour").click()
    page.set_input_files("#file", colour_source[1] / "01.png")
    sync_api.expect(page.locator("#answer .row .label").first).to_have_text("green")
    sync_api.expect(page.locator("#preview")).to_be_visible()
    sync_api.expect(page.locator("#note")).to_contain_text("version 1 answered in")


def test_a_dropped_picture_is_answered(page: sync_api.Page, colour_source: tuple[Path, Path, Path]) -> None:
    page.get_by_role("button", name="colour").click()
    data = list((colour_source[1] / "02.png").read_bytes())
    transfer = page.evaluate_handle(
        """bytes => { const t = new DataTransfer();
           t.items.add(new File([new Uint8Array(bytes)], "blue.png", {type: "image/png"})); return t; }""",
        data,
    )
    page.dispatch_event("#drop", "drop", {"dataTransfer": transfer})
    sync_api.expect(page.locator("#answer .row .label").first).to_have_text("blue")


def test_a_broken_picture_shows_the_servers_sentence(page: sync_api.Page) -> None:
    page.get_by_role("button", name="colour").click()
    page.set_input_files("#file", {"name": "x.png", "mimeType": "image/png", "buffer": b"\x89PNG\r\n\x1a\nbroken"})
    sync_api.expect(page.locator("#error")).to_be_visible()
    assert len(page.locator("#error").inner_text()) > 20
    assert page.locator("#answer .row").count() == 0


def test_tensors_are_sent_as_json(page: sync_api.Page) -> None:
    page.get_by_role("button", name="mlp").click()
    page.fill("#json", '{"x": [[1, 2, 3, 4]]}')
    page.get_by_role("button", name="Send").click()
    sync_api.expect(page.locator("#answer pre")).to_contain_text('"y"')
    page.fill("#json", '{"x": [[1, 2]]}')
    page.get_by_role("button", name="Send").click()
    sync_api.expect(page.locator("#error")).to_contain_text("[batch, 4]")


def test_fetches_nothing_from_elsewhere() -> None:
    text = playground().decode()
    assert "http://" not in text.replace("http://www.w3.org/2000/svg", "")
    assert "https://" not in text
