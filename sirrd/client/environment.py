"""What the caller and the environment say of the way to a server: checked here, before anything is sent.

httpx would read the environment by itself. It raises errors of its own kinds then, or takes what is malformed for
nothing; so it is told to leave the environment alone, and is given what was found here.
"""

from __future__ import annotations

import ipaddress
import os
import ssl
import sys
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import certifi
import truststore

from sirrd.client import addresses
from sirrd.client.addresses import Address, BadAddressError
from sirrd.client.errors import SettingError

_PROXY_SCHEMES: Final = ("http", "https", "socks5", "socks5h")
_SYSTEM: Final = "the system's settings"
_LONGEST_TOKEN: Final = 4096
_STORES: Final = (
    "/etc/ssl/cert.pem",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    "/etc/pki/tls/cert.pem",
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/ssl/ca-bundle.pem",
)
"""Where truststore looks, if OpenSSL was built for another system."""


@dataclass(frozen=True, slots=True)
class Proxy:
    """What stands between client and server.

    Attributes:
        url: With the name and password that it asks for, if any.
        variable: Where that was read.
        scheme: Of the connection to it.
    """

    url: str = field(repr=False)
    variable: str
    scheme: str


def server_of(url: str) -> str:
    """Return the URL of a server, written in the one way that it is compared in.

    Raises:
        SettingError: It is none.
    """
    try:
        return str(addresses.parse(url, may_log_in=False))
    except BadAddressError as error:
        raise SettingError(
            f"the server is named by its URL, like https://drop.example: {error} (SIRR_SERVER)", name="server"
        ) from None


def token_of(text: str) -> str:
    """Return a token, if a header can hold it.

    Raises:
        SettingError: It cannot.
    """
    if not text or len(text) > _LONGEST_TOKEN:
        raise SettingError("the token is empty, or too long (SIRR_TOKEN)", name="token")
    if not text.isascii() or not text.isprintable() or " " in text:
        raise SettingError(
            "the token holds a line break, a blank or another character that no token has (SIRR_TOKEN)", name="token"
        )
    return text


def proxy_for(server: Address, variables: Mapping[str, str] | None = None) -> Proxy | None:
    """Return the proxy that the environment names for a server, or None.

    Variables in lower case come first, as with curl; one for a scheme comes before `ALL_PROXY`.

    Raises:
        SettingError: It names one that cannot be used.
    """
    given = os.environ if variables is None else variables
    found, name = _named(server.scheme, given)
    if not found or _is_direct(server, given.get("no_proxy") or given.get("NO_PROXY") or ""):
        return None
    url = found if "://" in found else f"http://{found}"
    try:
        parsed = addresses.parse(url.rstrip("/"), schemes=_PROXY_SCHEMES)
    except BadAddressError as error:
        raise SettingError(f"{name} names no proxy that can be used: {error}", name=name) from None
    login = url.partition("://")[2].partition("/")[0].rpartition("@")[0]
    return Proxy(
        f"{parsed.scheme}://{login}{'@' if login else ''}{str(parsed).partition('://')[2]}", name, parsed.scheme
    )


def _named(scheme: str, variables: Mapping[str, str]) -> tuple[str, str]:
    for name in (f"{scheme}_proxy", f"{scheme.upper()}_PROXY", "all_proxy", "ALL_PROXY"):
        if name == "HTTP_PROXY" and "REQUEST_METHOD" in variables:
            continue  # in CGI whoever asks sets it, by the header Proxy
        if found := variables.get(name, "").strip():
            return found, name
    if sys.platform in {"win32", "darwin"} and not any(name.lower().endswith("_proxy") for name in variables):
        proxies = urllib.request.getproxies()
        return proxies.get(scheme) or proxies.get("all") or "", _SYSTEM
    return "", ""


def _is_direct(server: Address, exceptions: str) -> bool:
    """Tell whether a server is among the exceptions: names with what is below them, addresses, networks, or `*`.

    An exception that is malformed excepts nothing, as everywhere: there are many, in every machine's settings.
    """
    host = server.host.rstrip(".")
    for each in exceptions.replace(",", " ").split():
        entry, port = _with_port(each.lower())
        if port is not None and port != (server.port or {"http": 80, "https": 443}[server.scheme]):
            continue
        name = entry.removeprefix("*").strip(".")
        if entry == "*" or (name and (host == name or host.endswith(f".{name}"))) or _is_within(host, entry):
            return True
    if sys.platform in {"win32", "darwin"}:
        return bool(urllib.request.proxy_bypass(server.host))
    return False


def _with_port(entry: str) -> tuple[str, int | None]:
    name, colon, port = entry.rpartition(":")
    if colon and port.isascii() and port.isdigit() and (":" not in name or name.endswith("]")):
        return name.strip("[]"), int(port[:6])
    return entry.strip("[]"), None


def _is_within(host: str, network: str) -> bool:
    try:
        return ipaddress.ip_address(host) in ipaddress.ip_network(network, strict=False)
    except ValueError:
        return False


def trust(cacert: str | os.PathLike[str] | None, variables: Mapping[str, str] | None = None) -> ssl.SSLContext:
    """Return how certificates are checked: by a file that was named, by the variables of OpenSSL, or by the system.

    Args:
        cacert: A file with the certificates that are trusted, and no others; or None.
        variables: The environment.

    Raises:
        SettingError: What was named cannot be used.
    """
    given = os.environ if variables is None else variables
    if cacert is not None:
        return _trusting({"cacert": os.fspath(cacert)}, {})
    file, folder = given.get("SSL_CERT_FILE"), given.get("SSL_CERT_DIR")
    if file or folder:
        return _trusting({"SSL_CERT_FILE": file} if file else {}, {"SSL_CERT_DIR": folder} if folder else {})
    context = truststore.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    if sys.platform not in {"win32", "darwin"} and not _has_system_store():
        context.load_verify_locations(certifi.where())
    return context


def _trusting(files: Mapping[str, str], folders: Mapping[str, str]) -> ssl.SSLContext:
    # Not `ssl.create_default_context`: that also writes session keys to where SSLKEYLOGFILE says.
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    for name, file in files.items():
        try:
            context.load_verify_locations(cafile=file)
        except ssl.SSLError:
            raise SettingError(f"{name} names a file that holds no certificate in PEM", name=name) from None
        except (OSError, ValueError) as error:
            raise SettingError(f"{name} names a file that cannot be read: {_reason(error)}", name=name) from None
    for name, folder in folders.items():
        try:
            # OpenSSL takes a list here, and looks into each folder only when it needs a certificate of it.
            for each in folder.split(os.pathsep):
                next(Path(each).iterdir(), None)
            context.load_verify_locations(capath=folder)
        except (OSError, ValueError) as error:
            raise SettingError(f"{name} names a folder that cannot be read: {_reason(error)}", name=name) from None
    return context


def _reason(error: Exception) -> str:
    return error.strerror.lower() if isinstance(error, OSError) and error.strerror else "its name is malformed"


def _has_system_store() -> bool:
    """Tell whether the system has certificates at all: a small container may have none."""
    usual = ssl.get_default_verify_paths()
    try:
        return bool(
            usual.cafile or any(Path(usual.capath or os.devnull).glob("*.0")) or any(map(os.path.isfile, _STORES))
        )
    except OSError:
        return False
