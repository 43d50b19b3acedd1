"""With keys on a visitor sees what the visitor's key may see; without memories, what to do next."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.browser.accessibility import violations
from tests.browser.conftest import OpenPage, opened, photograph
from tests.browser.seed import agent_of, moment_id, seed
from tests.kit.service_process import REPOSITORY, ServiceProcess, environment, service_process


@pytest.fixture(scope="module")
def keys_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("keys") / "keys"


def new_key(keys_file: Path, *rights: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "app", "keys", "create", *rights],
        cwd=REPOSITORY,
        env=environment(api_keys_file=keys_file),
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.splitlines()[-1]


@pytest.fixture(scope="module")
def admin_key(keys_file: Path) -> str:
    return new_key(keys_file, "--role", "admin")


@pytest.fixture(scope="module")
def keyed(
    keys_file: Path, admin_key: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ServiceProcess]:
    folder = tmp_path_factory.mktemp("data")
    with service_process(
        port=0, data_dir=folder, api_keys_file=keys_file, api_keys_poll_s=0.1
    ) as running:
        with running.client() as client:
            client.headers["Authorization"] = f"Bearer {admin_key}"
            seed(client)
        yield running


@pytest.fixture
def open_page(browser: Browser, keyed: ServiceProcess) -> Iterator[OpenPage]:
    with opened(browser, keyed.url) as open_one:
        yield open_one


def give(page: Page, key: str) -> None:
    page.get_by_label("API key").fill(key)
    page.get_by_role("button", name="Open the console").click()


def test_a_key_is_asked_for_once_and_kept_for_the_tab(open_page: OpenPage, admin_key: str) -> None:
    page = open_page("#/swarm")
    expect(page.get_by_role("heading", name="Enter an API key")).to_be_visible()
    photograph(page, "key")
    assert violations(page) == []
    give(page, f"cm_{'0' * 12}_{'0' * 64}")
    expect(page.get_by_role("alert")).to_have_text("The key is not valid: ask for a new one.")
    give(page, admin_key)
    expect(page.get_by_role("link", name=agent_of("KO"))).to_be_visible()
    assert admin_key not in page.url
    page.reload()
    expect(page.get_by_role("link", name=agent_of("KO"))).to_be_visible()
    assert page.evaluate("JSON.stringify(localStorage) + document.cookie").find(admin_key) == -1
    other_tab = page.context.new_page()
    other_tab.goto(page.url)
    expect(other_tab.get_by_role("heading", name="Enter an API key")).to_be_visible()
    page.get_by_role("button", name="Forget the key").click()
    expect(page.get_by_role("heading", name="Enter an API key")).to_be_visible()


def test_a_reader_of_one_agent_sees_that_agent_alone(open_page: OpenPage, keys_file: Path) -> None:
    key = new_key(keys_file, "--role", "read", "--agent", agent_of("KO"))
    page = open_page("#/swarm")
    give(page, key)
    expect(page.get_by_text(f"Role read, {agent_of('KO')}")).to_be_visible()
    agents = page.get_by_role("table", name="Agents")
    expect(agents).to_contain_text(agent_of("KO"))
    assert agent_of("AAPL") not in page.locator("main").inner_text()
    expect(page.get_by_role("link", name="Actions")).to_have_count(0)
    for link in (
        f"#/ask?agent={agent_of('AAPL')}&id={moment_id('AAPL', 3)}",
        f"#/map?agent={agent_of('AAPL')}",
    ):
        page.evaluate(f"location.hash = {link!r}")
        alert = page.get_by_role("alert").first
        expect(alert).to_contain_text(f"This key is not for agent {agent_of('AAPL')}")
    page.evaluate("location.hash = '#/actions'")
    expect(page.get_by_text("Your key has the role read.")).to_be_visible()
    page.evaluate("location.hash = '#/health'")
    expect(page.get_by_text("This key's role read is not enough")).to_be_visible()
    page.evaluate(f"location.hash = '#/ask?agent={agent_of('KO')}&id={moment_id('KO', 200)}'")
    expect(page.get_by_role("table", name="Nearest moments")).to_be_visible()


def test_a_key_that_must_name_the_moment(open_page: OpenPage, keys_file: Path) -> None:
    key = new_key(keys_file, "--role", "read", "--require-as-of")
    page = open_page(f"#/ask?agent={agent_of('KO')}&id={moment_id('KO', 200)}")
    give(page, key)
    expect(page.get_by_role("table", name="Nearest moments")).to_be_visible()


def test_an_empty_service_says_what_to_do(browser: Browser, tmp_path: Path) -> None:
    with (
        service_process(port=0, data_dir=tmp_path / "data") as running,
        opened(browser, running.url) as open_one,
    ):
        for view in ("ask", "map", "swarm"):
            page = open_one(f"#/{view}")
            expect(page.get_by_text("Nothing is stored yet")).to_be_visible()
            expect(page.locator("main")).to_contain_text("make demo")
            assert violations(page) == []
        photograph(page, "swarm-empty")
        page = open_one("#/patterns")
        expect(page.get_by_text("The swarm has no concepts yet")).to_be_visible()
