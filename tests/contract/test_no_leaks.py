"""I6: what is secret reaches no log, error, repr or file in the clear, at any level, on any route."""

from __future__ import annotations

import logging
import re
import socket
import sqlite3
import subprocess
import sys
from pathlib import Path

import httpx
import pytest
from pydantic import ValidationError

from sirrd import errors
from sirrd.config.settings import Settings
from sirrd.config.sources import load
from sirrd.http import problems
from sirrd.http.wire import drops
from sirrd.log import CLAMPED, set_up
from tests.conftest import API_KEY, Daemon, Start
from tests.parts import PATIENCE_SECONDS, environment, started
from tests.scan import found_in

VALUE = "canary-value-7f3a9c"
KEY = "CANARY_KEY_5d1e"
ORG = "canary-org-88b2"
BEARER = "canary-bearer-c0ffee-11"
FOREIGN_BEARER = "canary-foreign-bearer-77"
ENCRYPTION_KEY = "c0ffee11" * 8
QUERY = "canary-query-4b4b"
AGENT = "canary-agent-9e9e"
NAMES = (VALUE, KEY, ORG, BEARER, FOREIGN_BEARER, ENCRYPTION_KEY, ENCRYPTION_KEY.upper(), QUERY, AGENT)


def provoke(client: httpx.Client) -> list[str]:
    """Send every kind of request, good and bad, and return the ids that were made."""
    good, bad = {"Authorization": f"Bearer {BEARER}"}, {"Authorization": f"Bearer {FOREIGN_BEARER}"}
    ids = []
    for terms in ({}, {"max_reads": 5, "delete": False}, {"ttl_seconds": 60}, {"max_reads": None}):
        made = client.post("/secrets", json={"value": VALUE, **terms}, headers=good)
        ids.append(made.json()["id"])
    client.post(f"/orgs/{ORG}/secrets", json={"key": KEY, "value": VALUE, "max_reads": None}, headers=good)
    client.post(f"/orgs/{ORG}/secrets", json={"key": KEY, "value": VALUE}, headers=good)
    paths = [f"/secrets/{each}" for each in [*ids, "e" * 64, "E" * 64]]
    paths += [f"/s/{ids[3]}", f"/orgs/{ORG}/secrets/{KEY}", f"/secrets/{KEY}", f"/orgs/{ORG}/secrets", "/secrets"]
    paths += [f"/{VALUE}", f"/secrets/{VALUE}/{KEY}", f"/orgs/{ORG}/prune", f"/orgs/{ORG}!/secrets/{KEY}"]
    for path in paths:
        for headers in (good, bad, {}):
            for method in ("HEAD", "GET", "PUT", "OPTIONS", "PATCH", "POST"):
                client.request(method, f"{path}?q={QUERY}", headers={**headers, "User-Agent": AGENT}, json={})
    bodies = [
        f'{{"value":"{VALUE}","{VALUE}":1}}',
        f'{{"value":"{VALUE}","value":"{VALUE}"}}',
        f'{{"value":"{VALUE}","max_reads":"{VALUE}"}}',
        f'{{"value":["{VALUE}"]}}',
        f'{{"key":"{KEY} ","value":"{VALUE}"}}',
        f'"{VALUE}"',
        f'{{"value":"{VALUE}',
        f"{VALUE}\udcff",
        "[" * 100_000 + VALUE,
        f'{{"value":"{VALUE * 100}"}}',
    ]
    for body in bodies:
        for path in ("/secrets", f"/orgs/{ORG}/secrets"):
            content = body.encode(errors="surrogateescape")
            client.post(path, content=content, headers={**good, "Content-Type": "application/json"})
        client.patch(f"/secrets/{ids[1]}", content=content, headers={**good, "Content-Type": "application/json"})
        client.post("/secrets", content=content, headers={**good, "Content-Type": VALUE})
    for query in (f"limit={VALUE}", f"cursor={VALUE}", f"org={VALUE}!", f"limit=1&limit={VALUE}"):
        client.get(f"/secrets?{query}", headers=good)
    client.delete(f"/secrets/{ids[3]}", headers=good)
    return ids


@pytest.mark.parametrize("log_format", ["text", "json"])
def test_i6_no_canary_in_the_log_or_the_files_of_the_daemon(tmp_path: Path, log_format: str) -> None:
    """I6: at level `debug`, with every library at its most talkative, the daemon's output and files hold no canary."""
    env = environment(
        SIRR_DATA_DIR=str(tmp_path / "data"),
        SIRR_PORT="0",
        SIRR_MASTER_API_KEY=BEARER,
        SIRR_MASTER_ENCRYPTION_KEY=ENCRYPTION_KEY,
        SIRR_LOG_LEVEL="debug",
        SIRR_LOG_FORMAT=log_format,
        SIRR_MAX_VALUE_BYTES="1000",
        SIRR_CORS_ORIGINS="https://a.example",
        SIRR_MIN_FREE_BYTES="0",
        SIRR_METRICS="true",
        PYDANTIC_SETTINGS_DEBUG="1",
        PYTHONASYNCIODEBUG="1",
    )
    command = [sys.executable, "-X", "dev", "-m", "sirrd", "serve"]
    with started(command, log=tmp_path / "log", cwd=tmp_path, env=env) as daemon:
        address = daemon.address()
        with httpx.Client(base_url=address, timeout=PATIENCE_SECONDS) as client:
            ids = provoke(client)
            damage(tmp_path / "data" / "sirrd.db")
            client.get(f"/secrets/{ids[1]}")
            client.get("/secrets", headers={"Authorization": f"Bearer {BEARER}"})
            metrics = client.get("/metrics", headers={"Authorization": f"Bearer {BEARER}"}).text
        host, port = address.removeprefix("http://").split(":")
        with socket.create_connection((host, int(port)), timeout=PATIENCE_SECONDS) as raw:
            raw.sendall(f"GET /secrets/{ids[1]} {VALUE}\r\n{KEY} \r\n\r\n".encode())
            raw.recv(1000)
        assert daemon.stop() == 0
        text = daemon.log.read_text()
    assert text.count("sirrd.request" if log_format == "json" else " info    GET ") > 40
    assert "UNREADABLE" in text
    assert metrics.count("sirrd_requests_total{") > 40
    assert 'sirrd_claims_total{outcome="unreadable"} 1.0' in metrics
    assert not re.search(r'="[^"]*([0-9a-f]{16}|127\.0\.0\.1)', metrics)
    for canary in (*NAMES, *ids):
        assert canary not in text + metrics
        assert canary[:24] not in text + metrics
    needles = [name.encode() for name in NAMES if len(name) > 14]
    needles += [part for each in ids for part in (each.encode(), bytes.fromhex(each))]
    needles.append(bytes.fromhex(ENCRYPTION_KEY))
    assert found_in(tmp_path / "data", needles) == set()


def damage(path: Path) -> None:
    """Damage every record in a database."""
    connection = sqlite3.connect(path, isolation_level=None, timeout=5)
    connection.execute("UPDATE secret SET sealed = CAST(x'00' || sealed AS BLOB)")
    connection.close()


def test_i6_no_canary_in_what_a_command_prints(tmp_path: Path) -> None:
    """I6: `check-config` shows all settings and no secret; errors about secrets do not show them."""
    env = environment(
        SIRR_DATA_DIR=str(tmp_path), SIRR_MASTER_API_KEY=BEARER, SIRR_MASTER_ENCRYPTION_KEY=ENCRYPTION_KEY
    )
    command = [sys.executable, "-m", "sirrd", "check-config"]
    shown = subprocess.run(command, env=env, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert shown.stdout.count("(set, not shown)") == 2
    assert not any(canary in shown.stdout + shown.stderr for canary in NAMES)
    env |= {"SIRR_MASTER_ENCRYPTION_KEY": ENCRYPTION_KEY + "0", "PYDANTIC_SETTINGS_DEBUG": "1"}
    failed = subprocess.run(command, env=env, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert failed.returncode == 3
    assert not any(canary in failed.stdout + failed.stderr for canary in NAMES)


async def test_i6_no_answer_repeats_what_was_sent(start: Start) -> None:
    """I6: no error of any route holds a value, a key, an id or a bearer that was sent, in body or headers."""
    async with start(max_value_bytes=1000) as daemon:
        requests: list[tuple[str, str, dict[str, object]]] = [
            ("POST", "/secrets", {"json": {"value": VALUE, VALUE: 1}}),
            ("POST", "/secrets", {"json": {"value": VALUE, "ttl_seconds": VALUE}}),
            ("POST", "/secrets", {"json": {"value": VALUE * 100}}),
            ("POST", "/secrets", {"content": VALUE, "headers": {"Content-Type": "application/json"}}),
            ("POST", "/secrets", {"content": VALUE, "headers": {"Content-Type": VALUE}}),
            ("POST", f"/orgs/{ORG}/secrets", {"json": {"key": KEY + "!", "value": VALUE}}),
            ("GET", f"/secrets/{KEY}", {}),
            ("GET", f"/secrets/{KEY}!", {}),
            ("GET", f"/orgs/{ORG}/secrets/{KEY}", {}),
            ("GET", "/secrets/" + "e" * 64, {}),
            ("GET", "/s/" + "e" * 64, {}),
            ("GET", f"/s/{KEY}", {}),
            ("GET", f"/secrets?limit={QUERY}", {}),
            ("GET", f"/{VALUE}", {}),
            ("GET", "/secrets", {"headers": {"Authorization": f"Bearer {FOREIGN_BEARER}"}}),
        ]
        for method, path, arguments in requests:
            answer = await daemon.client.request(method, path, **arguments)  # type: ignore[arg-type]
            assert answer.status_code >= 400, (method, path)
            told = answer.text + str(answer.headers)
            assert not any(canary in told for canary in (*NAMES, "e" * 64, API_KEY)), (method, path)


def test_i6_errors_hold_literals_only() -> None:
    """I6: no exception of the tree takes its text from a request, and none shows more than its text."""
    classes = [found for found in vars(errors).values() if isinstance(found, type) and issubclass(found, Exception)]
    assert len(classes) >= 25
    for found in classes:
        if issubclass(found, errors.SecretError):
            more = (1,) if found in {errors.TooManyProofs, errors.TooManyRepeats} else ()
            assert repr(found("00" * 8, *more)) == f"{found.__name__}('')"
    for problem in problems.TABLE.values():
        assert re.fullmatch(r"[ -~]+", problem.text)


@pytest.mark.parametrize(
    "members", [{"value": [VALUE]}, {"value": VALUE, "max_reads": VALUE}, {"value": VALUE, VALUE: VALUE}]
)
def test_i6_a_validation_error_hides_its_input(members: dict[str, object]) -> None:
    """I6: even where pydantic's error is shown as it is, it does not show the input."""
    with pytest.raises(ValidationError) as found:
        drops.PutBody.model_validate(members)
    shown = f"{found.value} {found.value!r}"
    assert f"input_value='{VALUE}" not in shown
    assert "input_value" not in shown


def test_i6_settings_hide_their_secrets(tmp_path: Path) -> None:
    """I6: neither repr nor text nor dump of the settings shows a secret one."""
    settings, _ = load(
        flags={},
        environ={"SIRR_MASTER_API_KEY": BEARER, "SIRR_MASTER_ENCRYPTION_KEY": ENCRYPTION_KEY},
        folder=tmp_path,
    )
    shown = f"{settings} {settings!r} {settings.shown()} {settings.model_dump()}"
    assert not any(canary in shown for canary in NAMES)
    with pytest.raises(ValidationError) as found:
        Settings(master_api_key=f"{BEARER} \n", master_encryption_key=7)
    assert BEARER not in str(found.value)


@pytest.mark.parametrize("level", ["debug", "info", "warning", "error"])
def test_i6_talkative_libraries_are_clamped(level: str) -> None:
    """I6: what prints SQL parameters, URLs or settings at its lower levels is never below `warning`."""
    before = (logging.root.handlers[:], logging.root.level)
    try:
        set_up(level, "json", sys.stderr)
        for name in CLAMPED:
            assert not logging.getLogger(name).isEnabledFor(logging.INFO)
    finally:
        logging.root.handlers[:], logging.root.level = before
    assert {"aiosqlite", "httpx", "httpcore", "pydantic_settings", "uvicorn.access"} <= set(CLAMPED)


async def test_i6_a_crash_is_logged_without_its_message(
    daemon: Daemon, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """I6: of an exception that nobody expected, the log keeps type and place, and the answer nothing."""

    def crash(*_: object, **__: object) -> None:
        raise RuntimeError(VALUE)

    before = (logging.root.handlers[:], logging.root.level)
    set_up("debug", "json", sys.stderr)
    monkeypatch.setattr(daemon.drop, "page", crash)
    answer = await daemon.client.get("/secrets?limit=1")
    logging.root.handlers[:], logging.root.level = before
    assert answer.status_code == 500
    assert answer.json()["code"] == "internal"
    logged = capsys.readouterr().err
    assert '"exception": "RuntimeError"' in logged
    assert "test_no_leaks.py:" in logged
    assert VALUE not in logged + answer.text
