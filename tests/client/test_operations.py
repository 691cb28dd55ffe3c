"""The client against the whole application: everything that it can ask, and every error that it tells."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any, Final

import httpx
import pytest

from sirrd.client import (
    AsyncSirrClient,
    CannotOpenError,
    Content,
    ExistsError,
    Link,
    LockedError,
    NotFoundError,
    RefusedError,
    SealedError,
    SirrError,
    UnauthorisedError,
)
from sirrd.link import Fragment
from tests.conftest import API_KEY, NOW, Daemon, Start

SERVER: Final = "http://sirrd.test"


def client_of(daemon: Daemon, token: str | None = API_KEY, server: str = SERVER) -> AsyncSirrClient:
    """Return a client of an application in process."""
    return AsyncSirrClient(server, token, transport=httpx.ASGITransport(daemon.served))


@pytest.fixture
async def sirr(daemon: Daemon) -> AsyncIterator[AsyncSirrClient]:
    """The owner's client."""
    async with client_of(daemon) as found:
        yield found


@pytest.fixture
async def stranger(daemon: Daemon) -> AsyncIterator[AsyncSirrClient]:
    """A recipient's client: it has no token."""
    async with client_of(daemon, None) as found:
        yield found


CONTENTS: Final = {
    "text": ("grüße\n", Content("grüße\n".encode())),
    "bytes of a text": (b"s3cret", Content(b"s3cret")),
    "bytes": (b"\xff\x00", Content(b"\xff\x00", media_type="application/octet-stream")),
    "a file": (Content(b"", "a.bin", "application/pdf"), Content(b"", "a.bin", "application/pdf")),
}


@pytest.mark.parametrize("passphrase", [None, "correct horse"])
@pytest.mark.parametrize(("value", "content"), [pytest.param(*case, id=name) for name, case in CONTENTS.items()])
async def test_a_link_opens_once(
    sirr: AsyncSirrClient, stranger: AsyncSirrClient, value: Any, content: Content, passphrase: str | None
) -> None:
    """Whoever has it gets what was pushed, name and type included; after that it is gone."""
    pushed = await sirr.push(value, passphrase=passphrase)
    assert await stranger.get(pushed.url, passphrase=passphrase) == content
    with pytest.raises(NotFoundError):
        await stranger.get(pushed.link, passphrase=passphrase)


async def test_the_server_never_sees_what_was_pushed(sirr: AsyncSirrClient, daemon: Daemon) -> None:
    """What it stores is sealed; neither the value nor the fragment nor a file's name is in any request."""
    seen: list[bytes] = []

    class Noting(httpx.ASGITransport):
        async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
            seen.append(repr(request.headers.raw).encode() + str(request.url).encode() + await request.aread())
            return await super().handle_async_request(request)

    async with AsyncSirrClient(SERVER, API_KEY, transport=Noting(daemon.served)) as noted:
        pushed = await noted.push(Content(b"s3cret", "name.txt", "text/plain"))
        await noted.get(pushed.link)
    fragment = pushed.link.fragment
    assert len(seen) > 1
    assert fragment is not None
    for hidden in (b"s3cret", b"name.txt", str(fragment).encode(), fragment.secret.hex().encode()):
        assert not any(hidden in request for request in seen)


async def test_the_terms_are_what_was_asked_for(sirr: AsyncSirrClient) -> None:
    """Lifetime, reads and what becomes of it after the last."""
    pushed = await sirr.push("s3cret", ttl=60, reads=3, keep=True)
    head = await sirr.head(pushed.link)
    assert (head.expires_at, head.reads_remaining, head.delete, head.locked) == (NOW + 60, 3, False, True)
    assert head.fingerprint is not None
    endless = await sirr.head((await sirr.push("s3cret", reads=None)).link)
    assert (endless.expires_at, endless.reads_remaining, endless.read_count) == (None, None, 0)


@pytest.mark.parametrize("given", [None, "another horse"])
async def test_without_the_passphrase_nothing_is_spent(
    sirr: AsyncSirrClient, stranger: AsyncSirrClient, given: str | None
) -> None:
    """A wrong one is told by the server, a missing one before anything is asked."""
    pushed = await sirr.push("s3cret", passphrase="correct horse")
    with pytest.raises(LockedError):
        await stranger.get(pushed.link, passphrase=given)
    assert (await stranger.head(pushed.link)).read_count == 0


async def test_without_the_fragment_nothing_is_spent(sirr: AsyncSirrClient, stranger: AsyncSirrClient) -> None:
    """A link that was cut is locked."""
    pushed = await sirr.push("s3cret")
    for cut in (pushed.id, str(Link(SERVER, pushed.id))):
        with pytest.raises(LockedError):
            await stranger.get(cut)
    with pytest.raises(LockedError):
        await stranger.get(Link(SERVER, pushed.id, Fragment(bytes(32))))
    assert (await stranger.get(pushed.link)).data == b"s3cret"


async def test_a_plain_one_needs_no_fragment(sirr: AsyncSirrClient, stranger: AsyncSirrClient) -> None:
    """Without encryption the value is stored as it is, and any client reads it by its id."""
    pushed = await sirr.push("s3cret", encrypt=False)
    assert "#" not in pushed.url
    assert (await stranger.get(pushed.url)).data == b"s3cret"
    with pytest.raises(RefusedError, match="encrypted"):
        await sirr.push(b"\xff", encrypt=False)


async def test_what_does_not_open_is_not_lost(sirr: AsyncSirrClient, daemon: Daemon) -> None:
    """The read is spent, so the error carries what came."""
    pushed = await sirr.push("s3cret", keep=True)
    fragment = pushed.link.fragment
    assert fragment is not None
    await daemon.client.patch(f"/secrets/{pushed.id}", json={"value": "other", "lock": fragment.keys().lock})
    with pytest.raises(CannotOpenError) as caught:
        await sirr.get(pushed.link)
    assert caught.value.value == "other"
    assert "other" not in f"{caught.value} {caught.value!r}"


async def test_a_new_value_keeps_the_link(sirr: AsyncSirrClient, stranger: AsyncSirrClient) -> None:
    """A link that was given away goes on to open, and shows the new value."""
    pushed = await sirr.push("old", keep=True, passphrase="horse")
    assert (await stranger.get(pushed.link, passphrase="horse")).data == b"old"
    with pytest.raises(SealedError):
        await stranger.get(pushed.link, passphrase="horse")
    changed = await sirr.patch(pushed.link, value="new", reads=2, ttl=9, passphrase="horse")
    assert (changed.key, changed.max_reads, changed.expires_at, changed.locked) == (pushed.id, 2, NOW + 9, True)
    assert (await stranger.get(pushed.link, passphrase="horse")).data == b"new"


async def test_a_sealed_one_is_described(sirr: AsyncSirrClient) -> None:
    """`head` of it is no error."""
    pushed = await sirr.push("s3cret", keep=True)
    await sirr.get(pushed.link)
    head = await sirr.head(pushed.link)
    assert (head.status, head.read_count, head.reads_remaining) == ("sealed", 1, 0)


async def test_the_recipient_destroys_it_unread(sirr: AsyncSirrClient, stranger: AsyncSirrClient) -> None:
    """By the link alone; the owner by the token, passphrase or not."""
    first, second = await sirr.push("s3cret"), await sirr.push("s3cret", passphrase="horse")
    await stranger.delete(first.link)
    with pytest.raises(LockedError):
        await stranger.delete(second.link)
    with pytest.raises(UnauthorisedError):
        await stranger.delete(second.id)
    await sirr.delete(second.id)
    for pushed in (first, second):
        with pytest.raises(NotFoundError):
            await sirr.head(pushed.link)


async def test_org_secrets(sirr: AsyncSirrClient, stranger: AsyncSirrClient) -> None:
    """Set, read by org and key or by the bare key, listed, deleted."""
    await sirr.set("acme", "DB", "hunter2", reads=None)
    with pytest.raises(ExistsError):
        await sirr.set("acme", "DB", "hunter3")
    assert (await sirr.get("DB", org="acme")).data == (await sirr.get("DB")).data == b"hunter2"
    with pytest.raises(UnauthorisedError):
        await stranger.get("DB", org="acme")
    await sirr.push("s3cret")
    assert [(each.key, each.org) async for each in sirr.list(org="acme")] == [("DB", "acme")]
    assert len([each async for each in sirr.list()]) == 2
    await sirr.delete("DB", org="acme")
    with pytest.raises(NotFoundError):
        await sirr.head("DB", org="acme")


async def test_a_list_goes_through_its_pages(sirr: AsyncSirrClient, monkeypatch: pytest.MonkeyPatch) -> None:
    """Newest first, each once."""
    monkeypatch.setattr("sirrd.client.clients.PAGE", 2)
    pushed = [(await sirr.push(str(n))).id for n in range(5)]
    assert [each.key async for each in sirr.list()] == pushed[::-1]


async def test_prune_and_health(sirr: AsyncSirrClient, daemon: Daemon) -> None:
    """What has expired is removed, and a daemon that drains takes no work."""
    await sirr.push("s3cret", ttl=1)
    daemon.clock.at += 1
    assert await sirr.prune() == 1
    assert await sirr.prune(org="acme") == 0
    assert await sirr.health()
    daemon.readiness.draining = True
    assert not await sirr.health()


async def test_a_token_can_be_checked(sirr: AsyncSirrClient, stranger: AsyncSirrClient) -> None:
    """Before it is needed; and it is told where it would be shown."""
    await sirr.check_token()
    with pytest.raises(UnauthorisedError):
        await stranger.check_token()
    link = Link(SERVER, "ab" * 32)
    assert [each.owns(what) for each in (sirr, stranger) for what in (link, "ab" * 32, "KEY")] == [True] * 3 + [
        False
    ] * 3
    assert not sirr.owns(Link("https://other.example", "ab" * 32))


@pytest.mark.parametrize(
    ("limit", "bytes_", "encrypt", "takes"),
    [
        (1_048_576, 786_370, True, True),
        (1_048_576, 786_500, True, False),
        (1_048_576, 1_048_577, False, False),
        (2_097_152, 1_048_577, False, True),
        (2_097_152, 1_500_000, True, True),
        (1000, 1000, True, False),
    ],
)
async def test_how_long_a_value_may_be_the_server_says(
    start: Start, limit: int, bytes_: int, encrypt: bool, takes: bool
) -> None:
    """What it takes is sent, however long; what it does not take is told with the limit, and with what sealing adds."""
    async with start(max_value_bytes=limit) as daemon, client_of(daemon) as sirr:
        if takes:
            pushed = await sirr.push("x" * bytes_, encrypt=encrypt)
            assert len((await sirr.get(pushed.link)).data) == bytes_
            return
        with pytest.raises(RefusedError, match=rf"takes [0-9]+ bytes as it is stored, and the server takes {limit}"):
            await sirr.push("x" * bytes_, encrypt=encrypt)


async def test_a_stranger_is_told_the_limit_of_strangers(start: Start) -> None:
    """Where anyone may store, less is taken of those who show no token."""
    async with start(public_create=True, public_max_value_bytes=500) as daemon:
        async with client_of(daemon, None) as stranger:
            for size in (600, 300_000):
                with pytest.raises(RefusedError, match="the server takes 500"):
                    await stranger.push("x" * size)
        async with client_of(daemon) as sirr:
            await sirr.push("x" * 600)


@pytest.mark.parametrize("terms", [{"passphrase": "horse", "encrypt": False}, {"passphrase": ""}])
async def test_a_passphrase_that_protects_nothing_is_refused(sirr: AsyncSirrClient, terms: dict[str, Any]) -> None:
    """Nothing is stored by whoever believes that it is protected, and it is not."""
    with pytest.raises(RefusedError, match="nothing was sent"):
        await sirr.push("s3cret", **terms)
    assert [each async for each in sirr.list()] == []


@pytest.mark.parametrize("value", ["", b"", Content(b"")])
@pytest.mark.parametrize("encrypt", [True, False])
async def test_nothing_is_no_value(sirr: AsyncSirrClient, value: Any, encrypt: bool) -> None:
    """A link to nothing is refused before it is made, and so is an org secret; an empty file is a file."""
    with pytest.raises(RefusedError, match="empty"):
        await sirr.push(value, encrypt=encrypt)
    with pytest.raises(RefusedError, match="empty"):
        await sirr.patch("ab" * 32, value=value)
    if isinstance(value, str):
        with pytest.raises(RefusedError, match="empty"):
            await sirr.set("acme", "KEY", value)


async def test_the_token_stays_with_its_server(daemon: Daemon) -> None:
    """A link of another server is asked there, and never shown the token."""
    seen: list[tuple[str, bool]] = []

    def answer(request: httpx.Request) -> httpx.Response:
        seen.append((request.url.host, "authorization" in request.headers))
        return httpx.Response(404, json={"error": "gone", "code": "not_found"})

    async with AsyncSirrClient(SERVER, "token", transport=httpx.MockTransport(answer)) as sirr:
        link = Link("https://other.example", "ab" * 32, Fragment(bytes(32)))
        for ask in (sirr.get(link), sirr.head(link), sirr.delete(link), sirr.get("ab" * 32), sirr.head("key")):
            with pytest.raises(NotFoundError):
                await ask
    assert seen == [("other.example", False)] * 3 + [("sirrd.test", True)] * 2


@pytest.mark.parametrize(
    "server", ["", "drop.example", "ftp://drop.example", "https://", "https://a.b/?q", "https://a.b/#f"]
)
def test_a_server_is_named_by_its_url(server: str) -> None:
    """Anything else is an error of the caller, before anything is asked."""
    with pytest.raises(ValueError, match="URL"):
        AsyncSirrClient(server)


async def test_no_error_tells_a_secret(sirr: AsyncSirrClient, start: Start) -> None:
    """Whatever is wrong, the message names no id, key, value or token (I6)."""
    for call in (
        sirr.get("ab" * 32),
        sirr.get("MY_KEY", org="acme"),
        sirr.set("acme", "bad key", "MY_VALUE"),
        sirr.push("MY_VALUE", ttl=0),
    ):
        with pytest.raises(SirrError) as caught:
            await call
        shown = f"{caught.value} {caught.value!r}"
        for hidden in ("ab" * 32, "MY_KEY", "bad key", "MY_VALUE", API_KEY):
            assert hidden not in shown
