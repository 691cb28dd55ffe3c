"""The settings: what each may be, what follows from several, and how they are shown."""

from __future__ import annotations

import ipaddress
import math
import re
from pathlib import Path
from typing import Annotated, Final, Literal, TypeAlias
from urllib.parse import urlsplit

import platformdirs
from pydantic import BeforeValidator, Field, SecretStr, field_validator, model_validator
from pydantic_settings import BaseSettings, NoDecode, PydanticBaseSettingsSource, SettingsConfigDict

from sirrd import hosts
from sirrd.config import advice
from sirrd.model import MAX_READS, MAX_TTL_SECONDS
from sirrd.policy import Caps

PREFIX: Final = "SIRR_"
CONFIG_FILE: Final = "sirrd.toml"
SECRETS: Final = ("database_url", "master_api_key", "master_encryption_key")
"""Settings that may also be given as `SIRR_<NAME>_FILE`, and are never shown."""
_BODY_ROOM_BYTES: Final = 64 * 1024
_PUBLIC_LIMITS: Final = ("public_max_ttl_seconds", "public_max_value_bytes", "public_creates_per_hour")
_LISTENER = re.compile(r"(\[[^\[\]]*\]|[^\[\]:]+):(\d{1,5})", re.ASCII)
_MOST_PORTS: Final = 65_535
_ORIGIN = re.compile(r"https?://[a-z0-9._\-]+(:\d{1,5})?|https?://\[[0-9a-f:.]+\](:\d{1,5})?")


def _listed(value: object) -> object:
    """Split a list that is written with commas, as it is in the environment."""
    return tuple(part.strip() for part in value.split(",") if part.strip()) if isinstance(value, str) else value


_EVERY_ADDRESS: Final = frozenset({"0.0.0.0", "::"})  # noqa: S104 - compared, not bound

Listed = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_listed)]
Pages: TypeAlias = Literal["off", "reveal", "all"]
"""Which pages there are."""

_ABSOLUTE: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")
UNITS: Final = {"seconds": " of seconds, without a unit", "bytes": " of bytes, without a unit"}
_NO_ADDRESS: Final = "must be an address or a name, without brackets, scheme and port: the port is SIRR_PORT"
_NOT_BASE: Final = "must be http(s)://host with an optional port and path, and nothing else"
_NO_LISTENER: Final = "must be an address and a port, such as 127.0.0.1:9464 or [::1]:9464"
_NO_HOSTS: Final = "must list hosts such as drop.example.org, without scheme and port, or be *"
_NO_NETWORKS: Final = "must list networks in CIDR notation, such as 10.0.0.0/8; names are not looked up"
_NO_ORIGINS: Final = "must list origins such as https://app.example.org, in lower case, or be *"


def _is_base(url: str) -> bool:
    """Tell whether a URL has scheme, host, perhaps port and path, and nothing else."""
    try:
        parts = urlsplit(url)
        is_known = parts.scheme in {"http", "https"} and parts.port != 0 and hosts.canonical(parts.hostname or "")
    except ValueError:
        return False
    rest = url.partition("://")[2]
    is_plain = re.fullmatch(r"[A-Za-z0-9._~/%-]*", parts.path) and not (set("?#@") & set(rest))
    return bool(is_known and is_plain and _ORIGIN.fullmatch(f"{parts.scheme}://{parts.netloc.lower()}"))


def _listener_of(text: str) -> tuple[str, int] | None:
    """Return address and port that stand in a text, or None if they do not."""
    found = _LISTENER.fullmatch(text)
    if found is None or hosts.canonical(found[1]) is None or int(found[2]) > _MOST_PORTS:
        return None
    return found[1].strip("[]"), int(found[2])


def _advised(rule: str, form: str | None) -> str:
    """Return what a setting must be, and the form to write where there is one."""
    return rule if form is None else f"{rule}; write {form}"


Seconds = Annotated[float, Field(ge=0, le=86_400, allow_inf_nan=False)]


class Settings(BaseSettings):
    """What the operator chose. Durations are seconds, sizes bytes."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, extra="forbid", frozen=True, hide_input_in_errors=True, validate_default=True
    )

    host: str = Field("127.0.0.1", min_length=1)
    port: int = Field(39_999, ge=0, le=65_535)
    data_dir: Path = Field(default_factory=lambda: platformdirs.user_data_path("sirrd", appauthor=False))
    database_url: SecretStr | None = None
    master_api_key: SecretStr | None = None
    master_encryption_key: SecretStr | None = None
    public_url: str | None = None
    allowed_hosts: Listed = ()
    trusted_proxies: Listed = ()
    cors_origins: Listed = ()
    org_reads: Literal["protected", "public"] = "protected"
    allow_open: bool = False
    public_create: bool = False
    public_max_ttl_seconds: int = Field(7 * 86_400, ge=1, le=MAX_TTL_SECONDS)
    public_max_value_bytes: int = Field(64 * 1024, ge=1, le=64 * 1024 * 1024)
    public_creates_per_hour: int = Field(60, ge=1, le=100_000)
    pages: Pages = "all"
    instance_name: str | None = Field(None, min_length=1, max_length=80)
    rate_limit_per_second: float | None = Field(None, ge=0.001, le=1000, allow_inf_nan=False)
    rate_limit_burst: int | None = Field(None, ge=1, le=100_000)
    default_max_reads: Annotated[int, Field(ge=1, le=MAX_READS)] | Literal["unlimited"] = 1
    default_ttl_seconds: int | None = Field(None, ge=1, le=MAX_TTL_SECONDS)
    max_ttl_seconds: int | None = Field(None, ge=1, le=MAX_TTL_SECONDS)
    max_value_bytes: int = Field(1024 * 1024, ge=1, le=64 * 1024 * 1024)
    max_body_bytes: int | None = Field(None, ge=1024, le=512 * 1024 * 1024)
    min_free_bytes: int = Field(256 * 1024 * 1024, ge=0)
    redelivery_seconds: int = Field(60, ge=0, le=3600)
    idle_seconds: float = Field(75.0, ge=1, le=3600, allow_inf_nan=False)
    drain_seconds: Seconds = 0.0
    shutdown_seconds: Seconds = 8.0
    prune_interval_seconds: Seconds = 60.0
    metrics: bool = False
    metrics_address: str | None = None
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    log_format: Literal["text", "json"] | None = None

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],  # noqa: ARG003 - the signature is the library's
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - the environment is an argument of `load`
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Read nothing by itself: `load` brings everything together, so that tests need no environment."""
        return (init_settings,)

    @field_validator("host")
    @classmethod
    def _is_address(cls, value: str) -> str:
        # A link-local address has a zone.
        if hosts.canonical(value.partition("%")[0]) is None or value.startswith("["):
            raise ValueError(_advised(_NO_ADDRESS, advice.host(value)))
        return value

    @field_validator("metrics_address")
    @classmethod
    def _is_listener(cls, value: str | None) -> str | None:
        if value is not None and _listener_of(value) is None:
            raise ValueError(_advised(_NO_LISTENER, advice.listener(value)))
        return value

    @field_validator("data_dir", mode="before")
    @classmethod
    def _names_a_folder(cls, value: object) -> object:
        if isinstance(value, str):
            if not value.strip() or "\0" in value:
                raise ValueError("is set but blank, or no path; unset it, or name a folder")
            try:
                return Path(value).expanduser().absolute()
            except RuntimeError:
                raise ValueError("begins with the home folder of a user that there is not") from None
            except OSError:
                raise ValueError("is relative, and the working folder is gone; begin it with /") from None
        return value

    @field_validator("data_dir")
    @classmethod
    def _has_a_place(cls, value: Path) -> Path:
        # Without a home folder the default is what it would be under one that is called "~".
        if value.parts[:1] == ("~",):
            raise ValueError("there is no home folder to keep it in; set it to an absolute path")
        return value

    @field_validator("master_api_key", "master_encryption_key", "database_url")
    @classmethod
    def _not_blank(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None and not value.get_secret_value().strip():
            raise ValueError("is set but blank; unset it, or give it a value")
        return value

    @field_validator("master_api_key")
    @classmethod
    def _fits_a_header(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None and not re.fullmatch(r"[\x21-\x7e]+", value.get_secret_value()):
            raise ValueError("must be printable ASCII without spaces, so that it fits a header")
        return value

    @field_validator("database_url")
    @classmethod
    def _known_engine(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None:
            raise ValueError("is not supported by this release: records are kept in SQLite in the data folder")
        return value

    @field_validator("public_url")
    @classmethod
    def _is_base_url(cls, value: str | None) -> str | None:
        if value is None:
            return None
        # `urlsplit` would take some of it out, silently.
        if not value.isprintable() or value != value.strip():
            raise ValueError("must be printable, without white space around it")
        if not _ABSOLUTE.match(value):
            raise ValueError(f"{_NOT_BASE}; it has to begin with http:// or https://")
        if not _is_base(value):
            raise ValueError(_advised(_NOT_BASE, advice.url(value)))
        return value.rstrip("/")

    @field_validator("allowed_hosts")
    @classmethod
    def _are_hosts(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if value != ("*",):
            for host in value:
                if hosts.canonical(host) is None:
                    raise ValueError(_advised(_NO_HOSTS, advice.host(host)))
        return value

    @field_validator("instance_name")
    @classmethod
    def _is_a_line(cls, value: str | None) -> str | None:
        if value is not None and (not value.isprintable() or value != value.strip()):
            raise ValueError("must be printable, without white space around it")
        return value

    @field_validator("trusted_proxies")
    @classmethod
    def _are_networks(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for network in value:
            try:
                ipaddress.ip_network(network)
            except ValueError:
                raise ValueError(_advised(_NO_NETWORKS, advice.network(network))) from None
        return value

    @field_validator("cors_origins")
    @classmethod
    def _are_origins(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if value != ("*",):
            for origin in value:
                if not _ORIGIN.fullmatch(origin):
                    raise ValueError(_advised(_NO_ORIGINS, advice.origin(origin)))
        return value

    @model_validator(mode="after")
    def _fit_together(self) -> Settings:
        longest, default = self.max_ttl_seconds, self.default_ttl_seconds
        if longest is not None and default is not None and default > longest:
            raise ValueError("default_ttl_seconds must not exceed max_ttl_seconds")
        if self.rate_limit_burst is not None and self.rate_limit_per_second is None:
            raise ValueError("rate_limit_burst has no effect without rate_limit_per_second")
        return self

    @model_validator(mode="after")
    def _metrics_fit(self) -> Settings:
        # As with strangers: whoever says no may leave the address where it is.
        if self.metrics_address is not None and "metrics" not in self.model_fields_set:
            raise ValueError("metrics_address has no effect without metrics")
        return self

    @model_validator(mode="after")
    def _public_fits(self) -> Settings:
        if self.public_create and self.master_api_key is None:
            raise ValueError("public_create needs master_api_key: without it everyone may do everything")
        # Whoever says no, and leaves the limits where they are, is not mistaken about what they do.
        if "public_create" not in self.model_fields_set:
            for name in _PUBLIC_LIMITS:
                if name in self.model_fields_set:
                    raise ValueError(f"{name} has no effect without public_create")
        return self

    @property
    def caps(self) -> Caps:
        """The limits and defaults of secrets."""
        return Caps(
            max_value_bytes=self.max_value_bytes,
            default_max_reads=None if self.default_max_reads == "unlimited" else self.default_max_reads,
            default_ttl_seconds=self.default_ttl_seconds,
            max_ttl_seconds=self.max_ttl_seconds,
        )

    @property
    def metrics_listener(self) -> tuple[str, int] | None:
        """Where metrics are served, if that is an address of their own."""
        return _listener_of(self.metrics_address) if self.metrics and self.metrics_address is not None else None

    @property
    def meant_hosts(self) -> frozenset[str] | None:
        """The hosts, in their one form, by which requests may name this server beside loopback; None: any."""
        if self.allowed_hosts == ("*",):
            return None
        named = [*self.allowed_hosts]
        if self.public_url is not None:
            named.append(urlsplit(self.public_url).hostname or "")
        if not named and not hosts.is_loopback(hosts.canonical(self.host) or ""):
            return None
        if self.host not in _EVERY_ADDRESS:
            # What it listens on is the address that the commands beside the daemon use.
            named.append(self.host)
        found = frozenset(name for host in named if (name := hosts.canonical(host)) is not None)
        return frozenset(name for name in found if not hosts.is_loopback(name))

    @property
    def public_caps(self) -> Caps:
        """The limits and defaults of dead drops from strangers: nowhere wider than those of everyone, and finite."""
        caps = self.caps
        longest = min(self.public_max_ttl_seconds, caps.max_ttl_seconds or MAX_TTL_SECONDS)
        default = caps.default_ttl_seconds
        return caps._replace(
            max_value_bytes=min(self.public_max_value_bytes, caps.max_value_bytes),
            default_ttl_seconds=None if default is None else min(default, longest),
            max_ttl_seconds=longest,
        )

    @property
    def public_burst(self) -> int:
        """How many dead drops strangers store from one address at once: those of ten minutes."""
        return math.ceil(self.public_creates_per_hour / 6)

    @property
    def rate_burst(self) -> int:
        """How many requests of one address pass at once: what the operator chose, else twice the rate, at least 10."""
        return self.rate_limit_burst or max(10, math.ceil(2 * (self.rate_limit_per_second or 0)))

    @property
    def body_limit(self) -> int:
        """The longest request body: room for any value however JSON escapes it, unless the operator chose."""
        return _body_of(self.max_value_bytes) if self.max_body_bytes is None else self.max_body_bytes

    @property
    def public_body_limit(self) -> int:
        """The longest request body of strangers who store: room for any value of theirs, within the limit of all."""
        return min(_body_of(self.public_caps.max_value_bytes), self.body_limit)

    def shown(self) -> dict[str, str]:
        """Return every setting as text, secrets redacted."""
        return {name: _shown(name, getattr(self, name)) for name in type(self).model_fields}


def _body_of(value_bytes: int) -> int:
    """Return how long a body can be that holds a value, and JSON that escapes all of it."""
    return 6 * value_bytes + _BODY_ROOM_BYTES


def _shown(name: str, value: object) -> str:
    if value is None or value == ():
        return "(unset)"
    if name in SECRETS:
        return "(set, not shown)"
    if isinstance(value, tuple):
        return ", ".join(map(str, value))
    return str(value).lower() if isinstance(value, bool) else str(value)


def local_url(host: str, port: int) -> str:
    """Return the address by which this machine reaches a listener on `host` and `port`."""
    reached = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 - compared, not bound
    return f"http://[{reached}]:{port}" if ":" in reached else f"http://{reached}:{port}"
