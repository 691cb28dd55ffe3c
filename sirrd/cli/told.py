"""What the operator is told: the banner, what is protected by what, and errors with their hints."""

from __future__ import annotations

import ipaddress
import logging
import sys
from typing import Final

from sirrd import __version__
from sirrd.config.settings import Settings
from sirrd.errors import BadSetting
from sirrd.log import Format, default_format, stderr

logger = logging.getLogger(__name__)


def refuse_open_server(settings: Settings) -> None:
    """Refuse what would let strangers store and list, unless that is wanted.

    Raises:
        BadSetting: No master API key is set, and the address or the CORS policy is open to others.
    """
    if settings.master_api_key is not None or settings.allow_open:
        return
    hint = "set SIRR_MASTER_API_KEY, or SIRR_ALLOW_OPEN=true if everyone may store, list and delete"
    if not is_loopback(settings.host):
        raise BadSetting("without a master API key sirrd listens on loopback addresses only", hint=hint)
    if settings.cors_origins == ("*",):
        raise BadSetting("without a master API key sirrd does not serve every origin", hint=hint)


def is_loopback(host: str) -> bool:
    """Tell whether only this machine can reach a listening address."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def announce(settings: Settings, address: str) -> None:
    """Tell the operator that the daemon has started: people by a banner, programs by lines of the log."""
    if log_format(settings) == "text":
        say(banner(settings, address))
        return
    started = {"version": __version__, "address": address, "data_dir": str(settings.data_dir)}
    logger.info("started", extra={"fields": started | protections(settings)})
    for found in protections(settings).values():
        if found.startswith(_LOUD):
            logger.warning(found)


_LOUD: Final = ("OPEN", "PUBLIC")


def protections(settings: Settings) -> dict[str, str]:
    """Return what is protected, by what, and what is open."""
    told = {
        "encrypted": "with the key file in the data folder; without that file the data cannot be read"
        if settings.master_encryption_key is None
        else "with SIRR_MASTER_ENCRYPTION_KEY; without that key the data cannot be read",
        "protected": "OPEN: no SIRR_MASTER_API_KEY is set, so whoever reaches this address can store, list and delete"
        if settings.master_api_key is None
        else f"{'store in an org' if settings.public_create else 'store'}, list, amend, delete and prune need the "
        "master API key",
        "org_secrets": _org_secrets(settings),
    }
    told["hosts"] = _hosts(settings)
    if settings.public_create:
        told["dead_drops"] = _public(settings)
    if settings.metrics:
        told["metrics"] = _metrics(settings)
    if settings.rate_limit_per_second is not None:
        told["strangers"] = _limit(settings)
    return told


def _org_secrets(settings: Settings) -> str:
    """Say who can read an org secret."""
    if settings.org_reads == "public":
        return "PUBLIC: whoever guesses the key of an org secret can read it (SIRR_ORG_READS=public)"
    if settings.master_api_key is None:
        return "OPEN: no SIRR_MASTER_API_KEY is set, so whoever reaches this address can list and read them"
    return "need the master API key, by bare key too (SIRR_ORG_READS=protected; the original serves them to anyone)"


def _hosts(settings: Settings) -> str:
    """Say by which names the daemon is asked."""
    meant = settings.meant_hosts
    if meant is None:
        return "ANY: a page of another site may ask under its own name; set SIRR_PUBLIC_URL, or SIRR_ALLOWED_HOSTS"
    return f"requests must name {' or '.join([*sorted(meant), 'loopback'])}: see SIRR_PUBLIC_URL, SIRR_ALLOWED_HOSTS"


def _public(settings: Settings) -> str:
    """Say what anyone may store, and how often."""
    caps = settings.public_caps
    return (
        f"PUBLIC: anyone may store dead drops (SIRR_PUBLIC_CREATE=true), of {caps.max_value_bytes} bytes and "
        f"{caps.max_ttl_seconds} s at most, {settings.public_creates_per_hour} an hour for {_each_address(settings)}"
    )


def _metrics(settings: Settings) -> str:
    """Say who gets the metrics."""
    if settings.metrics_listener is not None:
        return f"whoever reaches {settings.metrics_address} can read them, at /metrics (SIRR_METRICS_ADDRESS)"
    if settings.master_api_key is None:
        return "whoever reaches this address can read them, at /metrics"
    return "need the master API key, at /metrics"


def _limit(settings: Settings) -> str:
    """Say how often an address may ask."""
    limit = f"limited to {settings.rate_limit_per_second:g}/s and {settings.rate_burst} at once"
    return f"{limit} for {_each_address(settings)}"


def _each_address(settings: Settings) -> str:
    """Say what counts as one address."""
    if settings.trusted_proxies:
        return "each address that the trusted proxies report"
    return "each address that connects; behind a proxy set SIRR_TRUSTED_PROXIES"


def _pages(settings: Settings, address: str) -> str:
    """Say which pages there are."""
    if settings.pages == "all":
        return f"make and open links in a browser, at {address}/"
    return f"{'of links alone' if settings.pages == 'reveal' else 'none'} (SIRR_PAGES={settings.pages})"


def banner(settings: Settings, address: str) -> str:
    """Return what a person reads when the daemon has started."""
    bearer = "" if settings.master_api_key is None else '-H "Authorization: Bearer $SIRR_MASTER_API_KEY" '
    example = f"""curl {bearer}-H 'Content-Type: application/json' -d '{{"value":"hello"}}' {address}/secrets"""
    lines = {
        "data": str(settings.data_dir),
        **protections(settings),
        "pages": _pages(settings, address),
        "try": example,
    }
    told = (f"  {name.replace('_', ' '):<11} {text}" for name, text in lines.items())
    return "\n".join((f"sirrd {__version__} listens on {address}", *told))


def log_format(settings: Settings) -> Format:
    """Return the format of the log: the one that was chosen, or what fits where it goes."""
    return settings.log_format or default_format(stderr())


def complain(error: Exception) -> None:
    """Tell the operator what went wrong, and what could be done about it."""
    say(f"sirrd: {str(error) or (error.__doc__ or type(error).__name__).partition('.')[0].lower()}")
    if (hint := getattr(error, "hint", None)) is not None:
        say(f"hint: {hint}")


def say(text: str) -> None:
    """Tell the operator something, beside the results on standard output."""
    print(text, file=sys.stderr, flush=True)
