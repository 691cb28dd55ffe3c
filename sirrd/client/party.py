"""What both clients know and do alike: their server and its token, the requests that they send, the ends of lists."""

from __future__ import annotations

import os
import time
from typing import Final, TypeVar

import httpx

from sirrd import __version__
from sirrd.client import environment
from sirrd.client.calls import Again, Call, Rhythm, Steps, exchange
from sirrd.client.errors import UnavailableError
from sirrd.client.values import Page

T = TypeVar("T")
_EMPTY_PAGES: Final = 1000
_PATIENCE: Final = 4
"""How many steps' time the head of an answer has, and its body again."""


class Party:
    """What both clients know: the server and its token."""

    def __init__(self, server: str, token: str | None, timeout: float) -> None:
        self._server = environment.server_of(server)
        self._token = None if token is None else environment.token_of(token)
        self._timeout = timeout

    def _request(self, call: Call[T], server: str | None) -> httpx.Request:
        """Return what is sent. The token goes to the client's own server alone, never to that of a link."""
        headers = {
            "user-agent": f"sirrd-client/{__version__}",
            "accept": "application/json",
            "accept-encoding": "identity",
            **call.headers,
        }
        if self._shows_token(server):
            headers["authorization"] = f"Bearer {self._token}"
        seconds = self._timeout if call.seconds is None else min(call.seconds, self._timeout)
        patience = seconds if call.again is Again.NEVER else _PATIENCE * seconds
        return httpx.Request(
            call.method,
            (server or self._server) + call.path,
            headers=headers,
            json=None if call.members is None else dict(call.members),
            extensions={"timeout": httpx.Timeout(seconds).as_dict(), "patience": patience},
        )

    def _shows_token(self, server: str | None) -> bool:
        return self._token is not None and server in {None, self._server}

    def _steps(self, call: Call[T], server: str | None) -> Steps[T]:
        return exchange(call, rhythm=_RHYTHM, is_stranger=not self._shows_token(server))


class Cursors:
    """Follows a list through its pages, and sees to it that the list ends."""

    def __init__(self) -> None:
        self._seen: set[str] = set()
        self._empty = 0

    def after(self, page: Page) -> str | None:
        """Return where the next page begins, or None.

        Raises:
            UnavailableError: The server goes round in circles, or has nothing on page after page.
        """
        self._empty = 0 if page.secrets else self._empty + 1
        if page.cursor in self._seen or self._empty > _EMPTY_PAGES:
            raise UnavailableError("the server gives a list that has no end")
        if page.cursor is not None:
            self._seen.add(page.cursor)
        return page.cursor


def _jitter() -> float:
    return int.from_bytes(os.urandom(2)) / 0xFFFF


def _elapsed() -> float:
    # A laptop that sleeps must not take the window of an attempt for open when it wakes up.
    clock: int | None = getattr(time, "CLOCK_BOOTTIME", None)
    return time.monotonic() if clock is None else time.clock_gettime(clock)


_RHYTHM: Final = Rhythm(_jitter, _elapsed)
