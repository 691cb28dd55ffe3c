"""A real Chromium before a real daemon. What a browser complains about fails the test in which it did."""

from __future__ import annotations

import contextlib
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final, TypeAlias

import pytest
from playwright.sync_api import Browser, BrowserContext, Dialog, Page, Request, Route, sync_playwright

from sirrd.entropy import SystemEntropy
from sirrd.link import Content, Fragment, seal
from tests.parts import PATIENCE_SECONDS, SIRRD, ask, environment, require, settings_of, started

API_KEY: Final = "correct-horse-battery-staple"
INSECURE_HOST: Final = "sirrd.test"
"""A name of this machine that is not loopback to a browser, so that it gives pages no cryptography."""

_FLAGS: Final = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    f"--host-resolver-rules=MAP {INSECURE_HOST} 127.0.0.1",
)
_EXPECTED: Final = re.compile(r"Failed to load resource: (the server responded with a status of|net::ERR_)")
_REPORT: Final = """
document.addEventListener("securitypolicyviolation", (event) =>
  console.error(`violates ${event.effectiveDirective}: ${event.blockedURI} ${event.sourceFile}`));
"""


@contextlib.contextmanager
def chromium(**options: Any) -> Iterator[Browser]:
    """Start Debian's Chromium without a window."""
    path = shutil.which("chromium")
    require(path, "chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=list(_FLAGS), **options)
        try:
            yield browser
        finally:
            browser.close()


@pytest.fixture(scope="package")
def browser() -> Iterator[Browser]:
    """One browser for all tests; each has contexts of its own. It keeps left pages in its back-forward cache."""
    with chromium(ignore_default_args=["--disable-back-forward-cache"]) as found:
        yield found


class Visitor:
    """A person with a browser of their own.

    Attributes:
        context: Their browser.
        page: Its first page.
        requests: All that its pages asked for.
        complaints: What the browser found wrong: violated policies, errors of scripts, warnings.
    """

    def __init__(self, context: BrowserContext) -> None:
        self.context = context
        self.requests: list[Request] = []
        self.complaints: list[str] = []
        context.set_default_timeout(PATIENCE_SECONDS * 1000)
        context.add_init_script(_REPORT)
        context.on("request", lambda request: self.requests.append(request))  # noqa: PLW0108 - the library marks it
        context.on("weberror", lambda error: self.complaints.append(str(error.error)))
        context.on("console", lambda message: self._heard(message.type, message.text))
        self.page: Page = context.new_page()

    def _heard(self, kind: str, text: str) -> None:
        if kind in {"error", "warning"} and not _EXPECTED.match(text):
            self.complaints.append(text)

    def asked(self, method: str, part: str) -> list[Request]:
        """Return the requests of a method whose address has a part."""
        return [request for request in self.requests if request.method == method and part in request.url]

    def sees(self, words: str) -> None:
        """Wait until some words can be seen on the page."""
        self.page.get_by_text(words).locator("visible=true").first.wait_for()

    def leaves(self) -> list[str]:
        """Load the page anew whatever the browser asks, and return the kinds of what it asked."""
        kinds: list[str] = []

        def go(dialog: Dialog) -> None:
            kinds.append(dialog.type)
            dialog.accept()

        self.page.on("dialog", go)
        self.page.reload()
        return kinds

    def presses(self, name: str) -> None:
        """Press the button of a name."""
        self.page.get_by_role("button", name=name, exact=True).click()


class Gate:
    """Holds requests back until it is opened."""

    def __init__(self) -> None:
        self._held: list[Route] | None = []

    def __call__(self, route: Route) -> None:
        """Take a request."""
        if self._held is None:
            route.continue_()
        else:
            self._held.append(route)

    def open(self, status: int | None = None) -> None:
        """Let go of what is held, or answer it with a status in the server's stead, and hold nothing more."""
        held, self._held = self._held or [], None
        assert held
        for route in held:
            if status is None:
                route.continue_()
            else:
                route.fulfill(status=status)


Visit: TypeAlias = Callable[..., Visitor]


@pytest.fixture
def visit(browser: Browser) -> Iterator[Visit]:
    """Let persons come, each with options of their own; at the end nothing may have been wrong on their pages."""
    visitors: list[Visitor] = []

    def come(**options: Any) -> Visitor:
        given: dict[str, Any] = {
            "locale": "en-GB",
            "viewport": {"width": 1000, "height": 900},
            "accept_downloads": True,
        }
        visitor = Visitor(browser.new_context(**(given | options)))
        visitors.append(visitor)
        return visitor

    yield come
    for visitor in visitors:
        visitor.context.close()
    assert [complaint for visitor in visitors for complaint in visitor.complaints] == []


class Site:
    """A daemon as its users know it.

    Attributes:
        address: Where it listens.
    """

    def __init__(self, address: str) -> None:
        self.address = address

    def put(self, value: str = "s3cret", **terms: Any) -> str:
        """Store a dead drop that is not encrypted, and return its link."""
        status, answer = ask(self.address, "POST", "/secrets", {"value": value, **terms}, bearer=API_KEY)
        assert status == 201, answer
        return str(answer["url"])

    def seal(self, content: Content | bytes = b"s3cret", passphrase: str | None = None, **terms: Any) -> str:
        """Store a dead drop that is encrypted and locked, and return its link."""
        fragment = Fragment.make(SystemEntropy(), needs_passphrase=passphrase is not None)
        keys = fragment.keys(passphrase)
        content = Content(content) if isinstance(content, bytes) else content
        url = self.put(seal(content, keys.encryption, SystemEntropy()), lock=keys.lock, **terms)
        return f"{url}#{fragment}"

    def push(self, value: bytes = b"s3cret", *options: str) -> str:
        """Store a dead drop by the command of senders, and return its link."""
        return self.sirr("push", *options, given=value).decode().strip()

    def get(self, link: str, *options: str) -> bytes:
        """Open a link by the command of recipients, and return the value."""
        return self.sirr("get", *options, link)

    def sirr(self, *arguments: str, given: bytes = b"", cwd: Path | None = None) -> bytes:
        """Run the command of senders and recipients, and return what it prints."""
        env = environment(SIRR_SERVER=self.address, SIRR_TOKEN=API_KEY)
        command = [str(Path(sys.executable).parent / "sirr"), *arguments]
        done = subprocess.run(command, env=env, input=given, capture_output=True, timeout=30, check=False, cwd=cwd)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def described(self, link: str) -> dict[str, Any] | None:
        """Return the metadata of the secret behind a link, or None if it is gone."""
        status, listed = ask(self.address, "GET", "/secrets", bearer=API_KEY)
        assert status == 200
        found = [each for each in listed["secrets"] if each["key"] in link]
        return found[0] if found else None

    def spent(self, link: str) -> int | None:
        """Return how many reads of the secret behind a link are spent, or None if it is gone."""
        found = self.described(link)
        return None if found is None else found["read_count"]


@contextlib.contextmanager
def site_with(folder: Path, *, bearer: str | None = API_KEY, **settings: str) -> Iterator[Site]:
    """Run a daemon with settings of its own."""
    key = {} if bearer is None else {"SIRR_MASTER_API_KEY": bearer}
    env = settings_of(folder / "data", **key, **settings)
    with started([*SIRRD, "serve"], log=folder / "log", cwd=folder, env=env) as process:
        yield Site(process.address())


@pytest.fixture(scope="package")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A daemon with an API key, and defaults otherwise."""
    settings = {"SIRR_INSTANCE_NAME": "Example Works", "SIRR_ALLOWED_HOSTS": INSECURE_HOST}
    with site_with(tmp_path_factory.mktemp("site"), **settings) as found:
        yield found
