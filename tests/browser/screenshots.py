"""Takes the pictures of the pages that the documents show: `scripts/screenshots FOLDER`."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from playwright.sync_api import Page

from sirrd.http.pages.texts import LANGUAGES
from sirrd.http.pages.texts.en import ENGLISH
from tests.browser.conftest import API_KEY, Site, chromium, site_with

WIDE: Final = {"width": 760, "height": 600}
PHONE: Final = {"width": 390, "height": 640}
SETTINGS: Final = {"SIRR_INSTANCE_NAME": "Example Works", "SIRR_PUBLIC_URL": "https://drop.example.org"}


def create(site: Site, page: Page) -> None:
    """Show the form with something in it."""
    page.goto(f"{site.address}/")
    page.get_by_label(ENGLISH.secret, exact=True).fill("correct horse battery staple")
    page.get_by_label(ENGLISH.api_key).fill(API_KEY)


def link(site: Site, page: Page) -> None:
    """Show the link that comes of it."""
    create(site, page)
    page.get_by_role("button", name=ENGLISH.create).click()
    page.locator("#ready:focus").wait_for()
    page.get_by_text(ENGLISH.qr, exact=True).click()


def offer(site: Site, page: Page) -> None:
    """Show what the recipient sees first."""
    sealed = site.seal(b"correct horse battery staple", passphrase="by telephone", ttl_seconds=604_800)
    page.goto(sealed.replace("https://drop.example.org", site.address))
    page.get_by_label(ENGLISH.passphrase).fill("by telephone")


def value(site: Site, page: Page) -> None:
    """Show the value."""
    offer(site, page)
    page.get_by_role("button", name=ENGLISH.reveal).click()
    page.get_by_text(ENGLISH.shown_last).wait_for()


def gone(site: Site, page: Page) -> None:
    """Show that it is gone, to someone who reads German."""
    page.goto(f"{site.address}/s/{'0' * 64}?lang=de")
    page.get_by_text(LANGUAGES["de"].notices.gone.title).wait_for()


SHOTS: Final[dict[Callable[[Site, Page], None], dict[str, Any]]] = {
    create: {"viewport": WIDE},
    link: {"viewport": WIDE},
    offer: {"viewport": PHONE},
    value: {"viewport": PHONE},
    gone: {"viewport": PHONE, "color_scheme": "dark"},
}


def main(folder: Path) -> None:
    """Take every picture."""
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as data, site_with(Path(data), **SETTINGS) as site, chromium() as browser:
        for show, options in SHOTS.items():
            context = browser.new_context(locale="en-GB", **options)
            page = context.new_page()
            show(site, page)
            page.screenshot(path=folder / f"{show.__name__}.png", full_page=True, animations="disabled")
            context.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
