"""The proxies of docs/operations.md, run from the examples as they stand there, before a real daemon."""

from __future__ import annotations

import contextlib
import datetime as dt
import re
import shutil
import socket
import ssl
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from tests.conftest import Launch
from tests.parts import PATIENCE_SECONDS, ROOT, Process, environment, require
from tests.relay import Relay, relay

HOST: Final = "drop.example.org"
PREFIX: Final = "/drop"
API_KEY: Final = "correct-horse-battery-staple"
UPSTREAM: Final = "127.0.0.1:39999"
NAMES: Final = ("nginx", "caddy", "haproxy")


def example(name: str) -> str:
    """Return the example of a proxy as it stands in docs/operations.md."""
    (found,) = re.findall(
        rf"^```{name}\n(.*?)^```", (ROOT / "docs/operations.md").read_text(), re.DOTALL | re.MULTILINE
    )
    return str(found)


def changed(text: str, *changes: tuple[str, str]) -> str:
    """Return a configuration with what a test has to change in it; each of that must be there."""
    for old, new in changes:
        assert old in text, old
        text = text.replace(old, new)
    return text


@dataclass(frozen=True)
class Certificate:
    """A certificate for the host of the examples, which signs itself.

    Attributes:
        chain: The file of the certificate.
        key: The file of its key.
        both: One file with both.
    """

    chain: Path
    key: Path
    both: Path

    def trusting(self) -> ssl.SSLContext:
        """Return what trusts this certificate and no other."""
        return ssl.create_default_context(cafile=str(self.chain))


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    """A certificate for this session."""
    folder, key = tmp_path_factory.mktemp("tls"), ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, HOST)])
    now = dt.datetime.now(dt.UTC)
    day = dt.timedelta(days=1)
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number(), now - day, now + day)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(HOST)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, SHA256())
    )
    chain = made.public_bytes(Encoding.PEM)
    secret = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    files = [folder / each for each in ("chain.pem", "key.pem", "both.pem")]
    for file, content in zip(files, (chain, secret, chain + secret), strict=True):
        file.write_bytes(content)
    return Certificate(*files)


def free_port() -> int:
    """Return a port of this machine that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


@dataclass
class Proxy:
    """A proxy before a daemon, with a relay between them.

    Attributes:
        name: Which.
        url: Where it listens.
        client: Speaks to it over TLS, by the name of the example.
        daemon: The daemon behind it.
        relay: What stands between them.
        written: Reads all that the proxy has written into its logs.
    """

    name: str
    url: str
    client: httpx.Client
    daemon: Process
    relay: Relay
    written: Callable[[], str]

    def put(self, **terms: Any) -> str:
        """Store a dead drop through the proxy, and return its id."""
        answer = self.client.post("/secrets", json={"value": "s3cret", **terms}, headers=BEARER)
        assert answer.status_code == 201, answer.text
        return str(answer.json()["id"])


BEARER: Final = {"Authorization": f"Bearer {API_KEY}"}


def nginx(folder: Path, port: int, upstream: str, certificate: Certificate, *, prefix: bool) -> tuple[list[str], str]:
    """Return the command that runs nginx, and its configuration."""
    server = changed(
        example("nginx"),
        ("listen 443 ssl", f"listen 127.0.0.1:{port} ssl"),
        ("    listen [::]:443 ssl;\n", ""),
        ("/etc/ssl/drop.example.org.pem", str(certificate.chain)),
        ("/etc/ssl/private/drop.example.org.key", str(certificate.key)),
        ("/var/log/nginx/", f"{folder}/"),
        (UPSTREAM, upstream),
    )
    if prefix:
        server = changed(
            server, ("location / {", f"location {PREFIX}/ {{"), (f"http://{upstream};", f"http://{upstream}/;")
        )
    temporary = "".join(
        f"{kind}_temp_path {folder}/{kind};\n" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    head = f"pid {folder}/pid;\ndaemon off;\nuser root;\nevents {{}}\nhttp {{\n{temporary}"
    command = ["nginx", "-e", f"{folder}/start.log", "-c", f"{folder}/configuration"]
    return command, f"{head}{server}}}\n"


def caddy(folder: Path, port: int, upstream: str, certificate: Certificate, *, prefix: bool) -> tuple[list[str], str]:
    """Return the command that runs Caddy, and its configuration."""
    text = changed(
        example("caddy"),
        ("{\n\t# No redirect", "{\n\tadmin off\n\t# No redirect"),
        (f"\n{HOST} {{", f"\nhttps://{HOST}:{port} {{\n\tbind 127.0.0.1\n\ttls {certificate.chain} {certificate.key}"),
        (UPSTREAM, upstream),
    )
    if prefix:
        block = text[text.index("\treverse_proxy") :].removesuffix("}\n")
        text = text.replace(block, f"\thandle_path {PREFIX}/* {{\n{block}\t}}\n")
    return ["caddy", "run", "--config", f"{folder}/configuration", "--adapter", "caddyfile"], text


def haproxy(folder: Path, port: int, upstream: str, certificate: Certificate, *, prefix: bool) -> tuple[list[str], str]:
    """Return the command that runs HAProxy, and its configuration."""
    text = changed(
        example("haproxy"),
        ("bind :443", f"bind 127.0.0.1:{port}"),
        ("/etc/haproxy/drop.example.org.pem", str(certificate.both)),
        (UPSTREAM, upstream),
    )
    if prefix:
        text = changed(text, ("backend sirrd\n", f"backend sirrd\n    http-request replace-path {PREFIX}/(.*) /\\1\n"))
    return ["haproxy", "-db", "-f", f"{folder}/configuration"], text


_MADE: Final = {"nginx": nginx, "caddy": caddy, "haproxy": haproxy}
Proxied = Callable[..., contextlib.AbstractContextManager[Proxy]]


@pytest.fixture
def proxied(launch: Launch, tmp_path: Path, certificate: Certificate) -> Proxied:
    """Run a daemon behind a relay behind a proxy."""

    @contextlib.contextmanager
    def begin(
        name: str, *, prefix: bool = False, edit: Callable[[str], str] = lambda text: text, **settings: str
    ) -> Iterator[Proxy]:
        require(shutil.which(name), name)
        public = f"https://{HOST}{PREFIX if prefix else ''}"
        given = {"SIRR_MASTER_API_KEY": API_KEY, "SIRR_PUBLIC_URL": public, "SIRR_TRUSTED_PROXIES": "127.0.0.1/32"}
        folder = tmp_path / name
        folder.mkdir()
        with launch(**given, **settings) as daemon, relay(daemon.address()) as between:
            port = free_port()
            upstream = between.address.removeprefix("http://")
            command, text = _MADE[name](folder, port, upstream, certificate, prefix=prefix)
            (folder / "configuration").write_text(edit(text))
            url = f"https://127.0.0.1:{port}"
            with (
                _running(command, folder, port),
                httpx.Client(
                    base_url=f"{url}{PREFIX if prefix else ''}", verify=certificate.trusting(), headers={"Host": HOST}
                ) as client,
            ):
                client.event_hooks = {"request": [_by_name]}
                yield Proxy(name, url, client, daemon, between, lambda: _written(folder))

    return begin


def _by_name(request: httpx.Request) -> None:
    request.extensions["sni_hostname"] = HOST


def _written(folder: Path) -> str:
    return "\n".join(file.read_text(errors="replace") for file in sorted(folder.rglob("*.log")))


@contextlib.contextmanager
def _running(command: list[str], folder: Path, port: int) -> Iterator[None]:
    """Run a proxy until the block ends; it is there once it takes connections."""
    env = environment(HOME=str(folder), XDG_DATA_HOME=str(folder), XDG_CONFIG_HOME=str(folder))
    with (
        (folder / "output.log").open("wb") as sink,
        subprocess.Popen(command, stdout=sink, stderr=sink, cwd=folder, env=env) as process,
    ):
        try:
            _wait_for(port, process, folder)
            yield
        finally:
            process.terminate()
            process.wait(PATIENCE_SECONDS)


def _wait_for(port: int, process: subprocess.Popen[bytes], folder: Path) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < deadline:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return
        assert process.poll() is None, _written(folder)
        time.sleep(0.02)
    raise AssertionError(f"nobody listens: {_written(folder)}")
