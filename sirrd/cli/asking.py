"""What a command asks of the daemon on its own machine.

The answer comes from the process that holds the data folder, or from whatever else listens there by now; so the API
key is shown to an address of this machine alone, and every answer is bounded, in bytes and in time. No proxy is asked,
and no redirect followed.
"""

from __future__ import annotations

import contextlib
import functools
import http.client
import ipaddress
import json
import socket
from typing import Any, Final
from urllib.parse import urlsplit

from pydantic import SecretStr

from sirrd import alarm

_LONGEST_ANSWER: Final = 64 * 1024
_DONE: Final = {http.client.OK, http.client.ACCEPTED}


class CommandError(Exception):
    """A command did not do what it should; the message says why.

    Attributes:
        hint: What the operator could do about it, or None.
    """

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.hint = hint


class RefusedError(CommandError):
    """The daemon did not do what it was asked for.

    Attributes:
        status: The HTTP status of its answer.
    """

    def __init__(self, place: str, status: int) -> None:
        hint = "see what its log says"
        if status == http.client.UNAUTHORIZED:
            hint = "SIRR_MASTER_API_KEY, or its _FILE, has to be the key that the daemon was started with"
        elif status == http.client.SERVICE_UNAVAILABLE:
            hint = "it cannot write now, or reads other keys than it needs: its log says why; then try again"
        super().__init__(f"the daemon at {place} answered {status}", hint=hint)
        self.status = status


def ask(address: str, method: str, path: str, member: str, *, key: SecretStr | None, seconds: float) -> object:
    """Ask a daemon, and return a member of what it says.

    Args:
        address: Where it listens, as it announces itself: `http://127.0.0.1:39999`.
        method: The method.
        path: The path.
        member: What of the JSON is returned.
        key: The API key, which goes to this machine alone; None shows none.
        seconds: How long all of it may take.

    Raises:
        RefusedError: It answered that it did not do it.
        CommandError: Nobody answered, or something that is no sirrd.
    """
    host, port = _parsed(address)
    place = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][4][0]
    except (OSError, UnicodeError):
        raise CommandError(f"no daemon answers at {place}: the address cannot be resolved") from None
    if key is not None and not is_own(str(found)):
        raise CommandError(
            f"{place} is not of this machine: the API key was not sent there", hint="restart the daemon, and try again"
        )
    status, content = _answer(str(found), port, method, path, key=key, seconds=seconds, place=place)
    if status not in _DONE:
        raise RefusedError(place, status)
    if not isinstance(content, dict) or member not in content:
        raise CommandError(f"what answers at {place} is no sirrd", hint="see SIRR_HOST and SIRR_PORT")
    return content[member]


def is_own(address: str) -> bool:
    """Tell whether an address is one of this machine's own: only such a one can be listened on."""
    found = ipaddress.ip_address(address.partition("%")[0])
    if found.is_loopback:
        return True
    family = socket.AF_INET6 if found.version == 6 else socket.AF_INET  # noqa: PLR2004 - the version of IP
    with socket.socket(family, socket.SOCK_DGRAM) as tried:
        try:
            tried.bind(socket.getaddrinfo(address, 0, family, socket.SOCK_DGRAM)[0][4])
        except OSError:
            return False
    return True


def _parsed(address: str) -> tuple[str, int]:
    try:
        parts = urlsplit(address)
        if parts.scheme == "http" and parts.hostname and parts.port:
            return parts.hostname, parts.port
    except ValueError:
        pass
    raise CommandError("the lock file in the data folder names no address", hint="restart the daemon, and try again")


def _answer(
    host: str, port: int, method: str, path: str, *, key: SecretStr | None, seconds: float, place: str
) -> tuple[int, Any]:
    # Loopback names are served whatever hosts the daemon is meant for; its own address may not be.
    headers = {"Host": f"localhost:{port}"} | (
        {} if key is None else {"Authorization": f"Bearer {key.get_secret_value()}"}
    )
    connection = http.client.HTTPConnection(host, port, timeout=seconds)
    try:
        with contextlib.closing(connection):
            connection.connect()
            with alarm.after(seconds, functools.partial(_cut, connection.sock)):
                connection.request(method, path, headers=headers)
                response = connection.getresponse()
                return response.status, _json(response.read(_LONGEST_ANSWER))
    except (OSError, http.client.HTTPException):
        raise CommandError(f"no daemon answers at {place}", hint="is it running? see SIRR_HOST and SIRR_PORT") from None


def _json(content: bytes) -> object:
    try:
        return json.loads(content)
    except (ValueError, RecursionError):
        return None


def _cut(connection: socket.socket) -> None:
    """End a connection that takes its time, in whatever it is."""
    with contextlib.suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)
