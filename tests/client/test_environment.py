"""What the caller and the environment say of the way to a server: where it cannot be used, one line, and no request."""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from sirrd.client import AsyncSirrClient, Cause, MaybeSpentError, SettingError, SirrClient, SirrError, UnavailableError
from sirrd.client.addresses import parse
from sirrd.client.environment import proxy_for
from tests.client.servers import ID, SILENCE, Drops, reply, scripted

VARIABLES: Final = (
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "ALL_PROXY",
    "NO_PROXY",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "SSLKEYLOGFILE",
)


@pytest.fixture(autouse=True)
def alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """No variable of this machine counts, and nobody really waits."""
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)

    async def pause(_: float) -> None:
        return None

    monkeypatch.setattr(time, "sleep", lambda _: None)
    monkeypatch.setattr(asyncio, "sleep", pause)


def _get(server: str, **more: Any) -> bytes:
    with SirrClient(server, **{"timeout": 5, **more}) as sirr:
        return sirr.get(ID).data


def _aget(server: str, **more: Any) -> bytes:
    async def got() -> bytes:
        async with AsyncSirrClient(server, **{"timeout": 5, **more}) as sirr:
            return (await sirr.get(ID)).data

    return asyncio.run(got())


BOTH: Final = pytest.mark.parametrize("get", [pytest.param(_get, id="threads"), pytest.param(_aget, id="asyncio")])
Get = Callable[..., bytes]

# Servers and tokens.

NO_SERVERS: Final = {
    "nothing": "", "no scheme": "drop.example", "another scheme": "ftp://drop.example", "no host": "https://",
    "a query": "https://a.b/?q", "an empty query": "https://a.b/?", "a fragment": "https://a.b/#f",
    "two dots": "http://a..b", "a dot in front": "http://.a", "a label too long": f"http://{'a' * 64}.b",
    "a host too long": f"http://{'a.' * 130}b", "an open bracket": "http://[::1", "no address": "http://[::g]",
    "an address with a zone": "http://[fe80::1%eth0]", "a login": "https://user:pass@a.b", "a user": "https://user@a.b",
    "a port too many": "http://a:65536", "port nought": "http://a:0", "a port that is none": "http://a:x",
    "a negative port": "http://a:-1", "digits of another script": "http://a:\u0661", "a blank": "http://a b",
    "a line break": "http://a.b\n", "a tab": "http://a\t.b", "an escape": "http://a\x1b[2J", "a backslash": "http://a\\b",
    "half a character": "http://\udcff", "no name": "http://\u2024\u2024", "a control in the name": "http://a\u200b\u202e",
    "a path upwards": "https://a.b/../x", "a thousand letters": "https://a.b/" + "x" * 5000,
    "a hyphen in front": "http://-a.b", "a per cent": "http://a%2eb",
}  # fmt: skip


@pytest.mark.parametrize("make", [SirrClient, AsyncSirrClient])
@pytest.mark.parametrize("server", [pytest.param(each, id=name) for name, each in NO_SERVERS.items()])
def test_a_server_that_is_none_is_told_at_once(make: Any, server: str) -> None:
    """In one line, which names the variable and repeats nothing of it; it is a `ValueError`, too."""
    with pytest.raises(SettingError, match=r"named by its URL.*SIRR_SERVER") as caught:
        make(server)
    assert isinstance(caught.value, ValueError)
    assert (caught.value.name, caught.value.status) == ("server", None)
    assert str(caught.value).isprintable()
    assert "pass" not in str(caught.value)


@pytest.mark.parametrize(
    ("given", "written"),
    [
        ("https://Drop.Example/", "https://drop.example"),
        ("https://drop.example:443", "https://drop.example"),
        ("http://drop.example:80/a/", "http://drop.example/a"),
        ("http://drop.example:443", "http://drop.example:443"),
        ("https://b\u00fccher.example", "https://xn--bcher-kva.example"),
        ("http://[0:0::1]:7002", "http://[::1]:7002"),
        ("http://my_sirrd:41200", "http://my_sirrd:41200"),
        ("http://drop.example.", "http://drop.example."),
        ("HTTPS://drop.example", "https://drop.example"),
        ("https://a.b/gr\u00fc\u00dfe", "https://a.b/gr%C3%BC%C3%9Fe"),
        ("http://a:", "http://a"),
    ],
)
def test_a_server_is_written_in_one_way(given: str, written: str) -> None:
    """So that the token goes to it however it is written, and no library sees what it chokes on."""
    assert str(parse(given)) == written
    with SirrClient(given, "token") as sirr:
        assert sirr.owns(f"{written}/s/{ID}")
        assert not sirr.owns(f"https://other.example/s/{ID}")


TOKENS: Final = [
    "",
    "x\r",
    "x\n",
    "x\ny",
    "\x1b[2J",
    "x y",
    " x",
    "x\t",
    "t\u00f6ken",
    "\u202e",
    "\udcff",
    "x\x00",
    "x" * 5000,
]


@pytest.mark.parametrize("make", [SirrClient, AsyncSirrClient])
@pytest.mark.parametrize("token", TOKENS)
def test_a_token_that_no_header_can_hold_is_told_at_once(make: Any, token: str) -> None:
    """In one line, which names the variable and repeats nothing of it."""
    with pytest.raises(SettingError, match="SIRR_TOKEN") as caught:
        make("https://drop.example", token)
    assert caught.value.name == "token"
    assert str(caught.value).isprintable()


# Proxies.

NO_PROXIES: Final = {
    "another scheme": "ftp://proxy:1", "SOCKS 4": "socks4://proxy:1", "no host": "http://",
    "a port too many": "http://proxy:99999", "a port that is none": "proxy:port", "two dots": "http://a..b:1",
    "an open bracket": "http://[::1", "a blank": "http://a b:1", "a line break": "http://proxy:1\n.x",
    "an escape": "\x1b[2J", "a query": "http://proxy:1/?a", "half a character": "http://\udcff:1",
}  # fmt: skip


@BOTH
@pytest.mark.parametrize("variable", ["ALL_PROXY", "all_proxy", "HTTP_PROXY", "http_proxy"])
@pytest.mark.parametrize("proxy", [pytest.param(each, id=name) for name, each in NO_PROXIES.items()])
def test_a_proxy_that_is_none_is_told(get: Get, variable: str, proxy: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """In one line, which names the variable; nothing was sent."""
    monkeypatch.setenv(variable, proxy)
    with scripted(Drops()) as server:
        with pytest.raises(SettingError, match=f"^{variable} names no proxy") as caught:
            get(server.address)
        assert (caught.value.name, server.asked) == (variable, [])
    assert str(caught.value).isprintable()


@BOTH
@pytest.mark.parametrize("scheme", ["http", "https", "socks5", "socks5h"])
def test_a_proxy_that_is_not_there_is_told(get: Get, scheme: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """As the proxy, not as the server; and that nothing was spent."""
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    monkeypatch.setenv("ALL_PROXY", f"{scheme}://user:word@127.0.0.1:{port}")
    with pytest.raises(UnavailableError, match=r"proxy of ALL_PROXY .*refused.*nothing was spent") as caught:
        get("https://drop.example")
    assert caught.value.cause is Cause.PROXY
    assert not isinstance(caught.value, MaybeSpentError)
    assert "word" not in str(caught.value)


@BOTH
@pytest.mark.parametrize("scheme", ["http", "socks5"])
@pytest.mark.parametrize("said", [b"HTTP/1.1 407 \x1b[2J\r\n\r\n", b"\x05\xff", b"garbage\r\n\r\n", b"\x00", None])
def test_a_proxy_that_refuses_is_told(
    get: Get, scheme: str, said: bytes | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever it says, the request was not sent, and so no read was spent."""
    with answering(said) as port:
        monkeypatch.setenv("HTTPS_PROXY", f"{scheme}://127.0.0.1:{port}")
        with pytest.raises(UnavailableError, match=r"proxy of HTTPS_PROXY.*nothing was spent") as caught:
            get("https://drop.example")
    assert caught.value.cause is Cause.PROXY
    assert str(caught.value).isprintable()


@contextlib.contextmanager
def answering(said: bytes | None) -> Iterator[int]:
    """Run what says the same to everyone, or nothing, and closes."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                with connection, contextlib.suppress(OSError):
                    connection.settimeout(5)
                    connection.recv(65_536)
                    connection.sendall(said or b"")

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield listener.getsockname()[1]
        listener.shutdown(socket.SHUT_RDWR)
        thread.join(5)


@BOTH
def test_a_proxy_that_says_nothing_is_not_waited_for_for_ever(get: Get, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is no SOCKS proxy waits for more than is said to it."""
    with scripted(lambda _: SILENCE) as server:
        monkeypatch.setenv("ALL_PROXY", f"socks5://127.0.0.1:{server.port}")
        with pytest.raises(UnavailableError, match=r"proxy of ALL_PROXY.*nothing was spent") as caught:
            get("http://drop.example", timeout=0.1)
    assert not isinstance(caught.value, MaybeSpentError)


@BOTH
def test_a_server_behind_a_proxy_is_asked(get: Get, monkeypatch: pytest.MonkeyPatch) -> None:
    """Over http the proxy gets the whole request."""
    with scripted(lambda asked: drops(_bare(asked))) as proxy:
        drops = Drops()
        monkeypatch.setenv("HTTP_PROXY", f"127.0.0.1:{proxy.port}")
        assert get("http://drop.example") == b"s3cret"
    assert {each.path for each in proxy.asked} == {
        f"http://drop.example/secrets/{ID}{end}" for end in ("", "/received")
    }


def _bare(asked: Any) -> Any:
    return type(asked)(asked.method, asked.path.removeprefix("http://drop.example"), asked.headers, asked.body)


@pytest.mark.parametrize(
    ("server", "variables", "proxy"),
    [
        ("http://a.b", {"HTTP_PROXY": "http://p:1"}, "http://p:1"),
        ("https://a.b", {"HTTP_PROXY": "http://p:1"}, None),
        ("https://a.b", {"HTTPS_PROXY": "p:1"}, "http://p:1"),
        ("https://a.b", {"ALL_PROXY": "socks5h://u:w@p:1/"}, "socks5h://u:w@p:1"),
        ("https://a.b", {"ALL_PROXY": "http://p:1", "HTTPS_PROXY": "http://q:1"}, "http://q:1"),
        ("https://a.b", {"https_proxy": "http://p:1", "HTTPS_PROXY": "http://q:1"}, "http://p:1"),
        ("http://a.b", {"HTTP_PROXY": "http://p:1", "REQUEST_METHOD": "GET"}, None),
        ("http://a.b", {"http_proxy": "http://p:1", "REQUEST_METHOD": "GET"}, "http://p:1"),
        ("http://a.b", {"HTTP_PROXY": " "}, None),
        ("http://a.b", {"HTTP_PROXY": "http://P.Example:1"}, "http://p.example:1"),
        *(
            (server, {"ALL_PROXY": "http://p:1", "NO_PROXY": exceptions}, "http://p:1" if through else None)
            for server, exceptions, through in [
                ("http://a.b", "*", False),
                ("http://a.b", "a.b", False),
                ("http://x.a.b", "a.b", False),
                ("http://x.a.b", ".a.b", False),
                ("http://x.a.b", "*.a.b", False),
                ("http://xa.b", "a.b", True),
                ("http://a.b", "A.B", False),
                ("http://a.b:81", "a.b:80", True),
                ("http://a.b", "a.b:80", False),
                ("http://10.1.2.3", "10.0.0.0/8", False),
                ("http://11.1.2.3", "10.0.0.0/8,x", True),
                ("http://[::1]:7", "::1", False),
                ("http://[::1]:7", "[::1]", False),
                ("http://[::1]:7", "[::1]:7", False),
                ("http://127.0.0.1", "localhost, 127.0.0.1", False),
                ("http://a.b", "http://[::1, ]], a.b.c/99, \x1b, :99999999999", True),
                ("http://a.b", "", True),
            ]
        ),
    ],
)
def test_which_proxy_counts(server: str, variables: dict[str, str], proxy: str | None) -> None:
    """The variable of the scheme before that of all, lower case before upper, and the exceptions before any."""
    found = proxy_for(parse(server), variables)
    assert (None if found is None else found.url) == proxy
    assert "w@" not in repr(found)


# Certificates.


@dataclass(frozen=True)
class Authority:
    """A CA of a test's own.

    Attributes:
        file: Its certificate.
        folder: Where the files are.
    """

    file: Path
    folder: Path
    key: ec.EllipticCurvePrivateKey
    certificate: x509.Certificate

    @classmethod
    def make(cls, folder: Path) -> Authority:
        """Make one."""
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "a CA of a test")])
        certificate = _certificate(name, name, key, key, days=(-2, 2), authority=True)
        file = folder / "ca.pem"
        file.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        return cls(file, folder, key, certificate)

    def context(self, host: str = "127.0.0.1", days: tuple[int, int] = (-1, 1)) -> ssl.SSLContext:
        """Return what a server of a name is started with."""
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "a server of a test")])
        certificate = _certificate(name, self.certificate.subject, key, self.key, days=days, host=host)
        file = self.folder / "server.pem"
        pem = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        file.write_bytes(pem + certificate.public_bytes(serialization.Encoding.PEM))
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(file)
        return context


def _certificate(
    name: x509.Name,
    issuer: x509.Name,
    key: ec.EllipticCurvePrivateKey,
    signer: ec.EllipticCurvePrivateKey,
    *,
    days: tuple[int, int],
    authority: bool = False,
    host: str = "",
) -> x509.Certificate:
    now = dt.datetime.now(dt.UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now + dt.timedelta(days=days[0]))
        .not_valid_after(now + dt.timedelta(days=days[1]))
        .add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
    )
    if host:
        import ipaddress  # noqa: PLC0415

        other = x509.IPAddress(ipaddress.ip_address(host)) if host[0].isdigit() else x509.DNSName(host)
        builder = builder.add_extension(x509.SubjectAlternativeName([other]), critical=False)
    return builder.sign(signer, hashes.SHA256())


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    """A CA that nobody trusts by itself."""
    return Authority.make(tmp_path)


@contextlib.contextmanager
def secure(context: ssl.SSLContext, drops: Drops) -> Iterator[str]:
    """Run a server with TLS: a door before one without."""
    with scripted(drops) as inner, socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            while True:
                try:
                    plain, _ = listener.accept()
                except OSError:
                    return
                plain.settimeout(5)
                with contextlib.suppress(OSError), context.wrap_socket(plain, server_side=True) as outer:
                    request = outer.recv(65_536)
                    while b"\r\n\r\n" not in request:
                        request += outer.recv(65_536)
                    with socket.create_connection(("127.0.0.1", inner.port)) as upstream:
                        upstream.sendall(request)
                        while chunk := upstream.recv(65_536):
                            outer.sendall(chunk)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield f"https://127.0.0.1:{listener.getsockname()[1]}"
        listener.shutdown(socket.SHUT_RDWR)
        thread.join(5)


@BOTH
@pytest.mark.parametrize("how", ["cacert", "SSL_CERT_FILE", "SSL_CERT_DIR", "the system"])
def test_a_private_authority_can_be_trusted(
    get: Get, how: str, authority: Authority, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """By an argument, by the variables of OpenSSL, or since the system does."""
    more: dict[str, Any] = {}
    if how == "cacert":
        more = {"cacert": authority.file}
    elif how == "SSL_CERT_DIR":
        folder = tmp_path / "certificates"
        folder.mkdir()
        _hashed(authority.file, folder)
        monkeypatch.setenv(how, str(folder))
    elif how == "SSL_CERT_FILE":
        monkeypatch.setenv(how, str(authority.file))
    else:
        _let_the_system_trust(authority.file, monkeypatch)
    with secure(authority.context(), Drops()) as address:
        assert get(address, **more) == b"s3cret"


def _hashed(file: Path, folder: Path) -> None:
    """Put a certificate where OpenSSL looks: by the hash of its subject."""
    import subprocess  # noqa: PLC0415

    ran = subprocess.run(
        ["openssl", "x509", "-hash", "-noout", "-in", file], capture_output=True, text=True, check=True
    )
    (folder / f"{ran.stdout.strip()}.0").write_bytes(file.read_bytes())


def _let_the_system_trust(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Say that a file is where OpenSSL was built to look: what the system trusts cannot be changed for a test."""
    usual = ssl.get_default_verify_paths()
    monkeypatch.setattr(ssl, "get_default_verify_paths", lambda: usual._replace(cafile=str(file)))
    monkeypatch.setattr(
        ssl.SSLContext, "set_default_verify_paths", lambda self: self.load_verify_locations(cafile=str(file))
    )


CAUSES: Final = {
    "nobody who is trusted": ("127.0.0.1", (-1, 1), False, Cause.UNTRUSTED, "nobody who is trusted has signed"),
    "another name": ("drop.example", (-1, 1), True, Cause.OTHER_NAME, "for another name"),
    "another address": ("127.0.0.2", (-1, 1), True, Cause.OTHER_NAME, "for another name"),
    "over": ("127.0.0.1", (-2, -1), True, Cause.EXPIRED, "has expired"),
    "not yet": ("127.0.0.1", (1, 2), True, Cause.EXPIRED, "not yet valid"),
}


@BOTH
@pytest.mark.parametrize("case", [pytest.param(each, id=name) for name, each in CAUSES.items()])
def test_what_is_wrong_with_a_certificate_is_told(get: Get, case: tuple[Any, ...], authority: Authority) -> None:
    """By its cause; nothing was sent, and so nothing spent."""
    host, days, is_trusted, cause, text = case
    drops = Drops()
    more = {"cacert": authority.file} if is_trusted else {}
    expected = rf"cannot be reached.*{text}.*nothing was spent"
    with (
        secure(authority.context(host, days), drops) as address,
        pytest.raises(UnavailableError, match=expected) as caught,
    ):
        get(address, **more)
    assert (caught.value.cause, drops.spent) == (cause, 0)
    assert not isinstance(caught.value, MaybeSpentError)


@BOTH
def test_what_speaks_no_tls_is_told(get: Get) -> None:
    """By its cause."""
    with (
        answering(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n") as port,
        pytest.raises(UnavailableError, match="http rather than https") as caught,
    ):
        get(f"https://127.0.0.1:{port}")
    assert caught.value.cause is Cause.TLS


@BOTH
def test_a_name_that_is_not_known_is_told(get: Get) -> None:
    """By its cause."""
    with pytest.raises(UnavailableError, match="DNS") as caught:
        get("http://nowhere.invalid")
    assert caught.value.cause is Cause.DNS


@BOTH
def test_a_server_that_is_not_there_is_told(get: Get) -> None:
    """By its cause."""
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    with pytest.raises(UnavailableError, match="refused") as caught:
        get(f"http://127.0.0.1:{port}")
    assert caught.value.cause is Cause.REFUSED


@BOTH
@pytest.mark.parametrize("how", ["cacert", "SSL_CERT_FILE"])
@pytest.mark.parametrize("what", ["nothing there", "a folder", "no certificate", "a name that is none"])
def test_a_file_of_certificates_that_is_none_is_told(
    get: Get, how: str, what: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In one line, which names the variable or argument."""
    file = tmp_path / "ca.pem"
    if what == "a folder":
        file.mkdir()
    elif what == "no certificate":
        file.write_text("certificate")
    elif what == "a name that is none":
        file = tmp_path / ("x" * 300)
    if how == "cacert":
        more: dict[str, Any] = {"cacert": file}
    else:
        more = {}
        monkeypatch.setenv(how, str(file))
    with pytest.raises(SettingError, match=f"^{how} names a file that") as caught:
        get("https://drop.example", **more)
    assert caught.value.name == how


def test_a_folder_of_certificates_that_is_none_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """OpenSSL would take no notice, and then trust nobody."""
    monkeypatch.setenv("SSL_CERT_DIR", str(tmp_path / "nowhere"))
    with pytest.raises(SettingError, match=r"^SSL_CERT_DIR names a folder that cannot be read: no such file"):
        SirrClient("https://drop.example")


def test_certificates_do_not_matter_where_none_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """Over http whatever these variables say does no harm, nor does it over https to write session keys down."""
    monkeypatch.setenv("SSL_CERT_FILE", "/nowhere/at/all")
    with scripted(Drops()) as server:
        assert _get(server.address) == b"s3cret"


def test_no_session_key_is_written_down(authority: Authority, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever has them reads every value that came."""
    monkeypatch.setenv("SSLKEYLOGFILE", str(tmp_path / "keys"))
    with secure(authority.context(), Drops()) as address:
        assert _get(address, cacert=authority.file) == b"s3cret"
        monkeypatch.setenv("SSL_CERT_FILE", str(authority.file))
        with secure(authority.context(), Drops()) as another:
            assert _get(another) == b"s3cret"
    assert not (tmp_path / "keys").exists()


def test_no_other_variable_or_file_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A password for the host in the user's netrc is not sent along."""
    (tmp_path / ".netrc").write_text("machine 127.0.0.1 login user password word\n")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("NETRC", str(tmp_path / ".netrc"))
    with scripted(Drops()) as server:
        _get(server.address)
    assert all("authorization" not in each.headers for each in server.asked)


def test_no_cookie_is_kept() -> None:
    """What a server sets it does not get back."""
    said = reply(404, head="Set-Cookie: a=b\r\n")
    with scripted(lambda _: said) as server, SirrClient(server.address) as sirr:
        for _ in range(2):
            with pytest.raises(SirrError):
                sirr.head(ID)
    assert all("cookie" not in each.headers for each in server.asked)
