"""The settings, read once at the start: flags over environment over `sirrd.toml` over defaults.

Every field of `Settings` is a setting: `SIRR_<NAME>` in the environment, the lower-case name in the file. No error and
no repr shows the value of a secret one.
"""

from __future__ import annotations

import ipaddress
import math
import re
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Final, Literal, TypeAlias
from urllib.parse import urlsplit

import platformdirs
from pydantic import BeforeValidator, Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, NoDecode, PydanticBaseSettingsSource, SettingsConfigDict

from sirrd import hosts
from sirrd.errors import BadSetting
from sirrd.model import MAX_READS, MAX_TTL_SECONDS
from sirrd.policy import Caps

PREFIX: Final = "SIRR_"
CONFIG_FILE: Final = "sirrd.toml"
SECRETS: Final = ("database_url", "master_api_key", "master_encryption_key")
"""Settings that may also be given as `SIRR_<NAME>_FILE`, and are never shown."""

CLIENT_VARIABLES: Final = frozenset({"SIRR_SERVER", "SIRR_TOKEN", "SIRR_ORG", "SIRR_PASSPHRASE_FILE"})
_BODY_ROOM_BYTES: Final = 64 * 1024
_PUBLIC_LIMITS: Final = ("public_max_ttl_seconds", "public_max_value_bytes", "public_creates_per_hour")
_ORIGIN = re.compile(r"https?://[a-z0-9._\-]+(:\d{1,5})?|https?://\[[0-9a-f:.]+\](:\d{1,5})?")


def _listed(value: object) -> object:
    """Split a list that is written with commas, as it is in the environment."""
    return tuple(part.strip() for part in value.split(",") if part.strip()) if isinstance(value, str) else value


_EVERY_ADDRESS: Final = frozenset({"0.0.0.0", "::"})  # noqa: S104 - compared, not bound

Listed = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_listed)]
Pages: TypeAlias = Literal["off", "reveal", "all"]
"""Which pages there are."""

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
    drain_seconds: Seconds = 0.0
    shutdown_seconds: Seconds = 8.0
    prune_interval_seconds: Seconds = 60.0
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

    @field_validator("data_dir", mode="before")
    @classmethod
    def _names_a_folder(cls, value: object) -> object:
        if isinstance(value, str):
            if not value.strip():
                raise ValueError("is set but blank; unset it, or name a folder")
            return Path(value).expanduser().absolute()
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
        if not value.isprintable() or value != value.strip():
            raise ValueError("must be printable, without white space around it")
        parts = urlsplit(value)
        plain = re.fullmatch(r"[A-Za-z0-9._~/%-]*", parts.path) is not None
        if parts.scheme not in {"http", "https"} or not plain or parts.query or parts.fragment or "@" in parts.netloc:
            raise ValueError("must be http(s)://host with an optional port and path, and nothing else")
        if not _ORIGIN.fullmatch(f"{parts.scheme}://{parts.netloc.lower()}"):
            raise ValueError("must be http(s)://host with an optional port and path, and nothing else")
        return value.rstrip("/")

    @field_validator("allowed_hosts")
    @classmethod
    def _are_hosts(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if value != ("*",) and not all(hosts.canonical(host) for host in value):
            raise ValueError("must list hosts such as drop.example.org, without scheme and port, or be *")
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
                raise ValueError("must list networks in CIDR notation, such as 10.0.0.0/8") from None
        return value

    @field_validator("cors_origins")
    @classmethod
    def _are_origins(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if value != ("*",) and not all(_ORIGIN.fullmatch(origin) for origin in value):
            raise ValueError("must list origins such as https://app.example.org, in lower case, or be *")
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


def load(
    *, flags: Mapping[str, Any], environ: Mapping[str, str], folder: Path, config: Path | None = None
) -> tuple[Settings, list[str]]:
    """Bring the settings together.

    Args:
        flags: Settings from the command line, by field name; None means not given.
        environ: The environment.
        folder: Where `sirrd.toml` is looked for if nothing names a file.
        config: The file that the command line names.

    Returns:
        The settings, and warnings for the operator.

    Raises:
        BadSetting: Something is malformed, unknown or unsafe; the message names the setting and never its value.
    """
    from_environment, warnings = _from_environment(environ)
    from_file = _from_file(config or (Path(environ["SIRR_CONFIG"]) if environ.get("SIRR_CONFIG") else None), folder)
    given = {name: value for name, value in flags.items() if value is not None}
    merged: dict[str, Any] = {}
    for source in (from_file, from_environment, given):
        for name in source:
            # A source that names a secret, or a file of it, hides both forms in the sources below.
            base = name.removesuffix("_file")
            if base in SECRETS:
                merged.pop(base, None)
                merged.pop(f"{base}_file", None)
        merged.update(source)
    for name in SECRETS:
        if (path := merged.pop(f"{name}_file", None)) is not None:
            if name in merged:
                raise BadSetting(f"{name} and {name}_file are both set", hint="set one of them")
            merged[name] = _read_secret(name, path)
    try:
        return Settings(**merged), warnings
    except ValidationError as error:
        raise _translated(error) from None


def _from_environment(environ: Mapping[str, str]) -> tuple[dict[str, Any], list[str]]:
    known = {PREFIX + name.upper(): name for name in Settings.model_fields}
    known |= {f"{PREFIX}{name.upper()}_FILE": f"{name}_file" for name in SECRETS}
    found: dict[str, Any] = {}
    warnings = []
    for variable, value in environ.items():
        if variable == "SIRR_PORT" and value.startswith("tcp://"):
            warnings.append("SIRR_PORT is a service address that Kubernetes injects; it is ignored")
        elif variable in known:
            found[known[variable]] = value
        elif variable.startswith(PREFIX) and variable != "SIRR_CONFIG" and variable not in CLIENT_VARIABLES:
            warnings.append(f"unknown environment variable {variable}; it is ignored")
    return found, warnings


def _from_file(named: Path | None, folder: Path) -> dict[str, Any]:
    path = named or folder / CONFIG_FILE
    try:
        found = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        if named is None:
            return {}
        raise BadSetting("the settings file that was named is not there") from None
    except OSError as error:
        raise BadSetting(f"the settings file cannot be read: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError):
        # The parser's message quotes the file, which may hold a key.
        raise BadSetting("the settings file is not valid TOML", hint="compare it with sirrd.toml.example") from None
    known = {*Settings.model_fields, *(f"{name}_file" for name in SECRETS)}
    for name in found:
        if name not in known:
            raise BadSetting(f"unknown setting {name!r} in the settings file", hint="see sirrd.toml.example")
    return found


def _read_secret(name: str, path: object) -> str:
    try:
        return Path(str(path)).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError):
        raise BadSetting(f"the file named by {name}_file cannot be read") from None


def _translated(error: ValidationError) -> BadSetting:
    """Turn pydantic's findings into one sentence without inputs."""
    found: Sequence[Any] = error.errors(include_input=False, include_context=False, include_url=False)
    first = found[0]
    name = str(first["loc"][0]) if first["loc"] else "settings"
    message = str(first["msg"]).removeprefix("Value error, ")
    hint = f"{name} is explained in sirrd.toml.example" if first["loc"] else None
    return BadSetting(f"{name}: {message}", hint=hint)


def local_url(host: str, port: int) -> str:
    """Return the address by which this machine reaches a listener on `host` and `port`."""
    reached = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 - compared, not bound
    return f"http://[{reached}]:{port}" if ":" in reached else f"http://{reached}:{port}"
