"""Settings: flags over environment over file over defaults, and no bad one gets through."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from sirrd.config.settings import Settings, local_url
from sirrd.config.sources import CLIENT_VARIABLES, load
from sirrd.errors import BadSetting

FOLDER = Path("/nowhere")
PUBLIC = {"SIRR_PUBLIC_CREATE": "true", "SIRR_MASTER_API_KEY": "k"}


def loaded(
    environ: dict[str, str] | None = None, *, file: str | None = None, folder: Path = FOLDER, **flags: Any
) -> Settings:
    """Load settings, from a file in the folder if its text is given."""
    if file is not None:
        (folder / "sirrd.toml").write_text(file)
    return load(flags=flags, environ=environ or {}, folder=folder)[0]


def test_defaults_are_those_of_the_documentation() -> None:
    """Without anything set, the daemon is closed to the network and burns after one read."""
    settings = loaded()
    assert (settings.host, settings.port) == ("127.0.0.1", 39_999)
    assert settings.data_dir.name == "sirrd"
    assert settings.data_dir.is_absolute()
    assert settings.org_reads == "protected"
    assert settings.default_max_reads == 1
    assert settings.max_value_bytes == 1024 * 1024
    assert settings.body_limit == 6 * 1024 * 1024 + 64 * 1024
    assert settings.min_free_bytes == 256 * 1024 * 1024
    assert (settings.drain_seconds, settings.shutdown_seconds, settings.prune_interval_seconds) == (0, 8, 60)
    assert settings.master_api_key is None
    assert settings.cors_origins == settings.trusted_proxies == ()


def test_flags_win_over_environment_over_file(tmp_path: Path) -> None:
    """Each source hides the ones below it, setting by setting."""
    file = 'port = 1\nhost = "::1"\nlog_level = "error"\n'
    settings = loaded({"SIRR_PORT": "2", "SIRR_HOST": "127.0.0.2"}, file=file, folder=tmp_path, port=3)
    assert (settings.port, settings.host, settings.log_level) == (3, "127.0.0.2", "error")


def test_the_file_that_is_named_is_read(tmp_path: Path) -> None:
    """`--config` wins over `SIRR_CONFIG`, and that over `./sirrd.toml`."""
    for n, name in enumerate(("sirrd.toml", "two.toml", "three.toml"), start=1):
        (tmp_path / name).write_text(f"port = {n}")
    environ = {"SIRR_CONFIG": str(tmp_path / "two.toml")}
    assert load(flags={}, environ={}, folder=tmp_path)[0].port == 1
    assert load(flags={}, environ=environ, folder=tmp_path)[0].port == 2
    assert load(flags={}, environ=environ, folder=tmp_path, config=tmp_path / "three.toml")[0].port == 3


def test_a_secret_may_stand_in_a_file(tmp_path: Path) -> None:
    """`SIRR_…_FILE` names a file whose content, without surrounding white space, is the secret."""
    (tmp_path / "key").write_text(" correct-horse\n")
    settings = loaded({"SIRR_MASTER_API_KEY_FILE": str(tmp_path / "key")})
    assert settings.master_api_key is not None
    assert settings.master_api_key.get_secret_value() == "correct-horse"


def test_a_secret_hides_both_forms_in_the_sources_below(tmp_path: Path) -> None:
    """A key in the environment counts even if the file of settings names a key file, and the other way round."""
    (tmp_path / "key").write_text("from the file")
    settings = loaded(
        {"SIRR_MASTER_API_KEY": "from-the-environment"}, file='master_api_key_file = "key"', folder=tmp_path
    )
    assert settings.master_api_key is not None
    assert settings.master_api_key.get_secret_value() == "from-the-environment"


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("SIRR_PORT", "-1"),
        ("SIRR_PORT", "65536"),
        ("SIRR_PORT", "http"),
        ("SIRR_HOST", ""),
        ("SIRR_DATA_DIR", " "),
        ("SIRR_MASTER_API_KEY", ""),
        ("SIRR_MASTER_API_KEY", "  "),
        ("SIRR_MASTER_API_KEY", "two words"),
        ("SIRR_MASTER_API_KEY", "schlüssel"),
        ("SIRR_MASTER_ENCRYPTION_KEY", ""),
        ("SIRR_DATABASE_URL", "postgresql://localhost/sirrd"),
        ("SIRR_PUBLIC_URL", "drop.example"),
        ("SIRR_PUBLIC_URL", "ftp://drop.example"),
        ("SIRR_PUBLIC_URL", "https://drop.example/?x"),
        ("SIRR_PUBLIC_URL", "https://drop.example/#x"),
        ("SIRR_PUBLIC_URL", "https://user@drop.example"),
        ("SIRR_PUBLIC_URL", "https://drop.example/<b>"),
        ("SIRR_PUBLIC_URL", "https://"),
        ("SIRR_TRUSTED_PROXIES", "proxy.internal"),
        ("SIRR_TRUSTED_PROXIES", "10.0.0.1/8"),
        ("SIRR_CORS_ORIGINS", "https://a.example/"),
        ("SIRR_CORS_ORIGINS", "https://A.example"),
        ("SIRR_CORS_ORIGINS", "null"),
        ("SIRR_CORS_ORIGINS", "*,https://a.example"),
        ("SIRR_ORG_READS", "open"),
        ("SIRR_ALLOW_OPEN", "perhaps"),
        ("SIRR_PUBLIC_CREATE", "perhaps"),
        ("SIRR_PUBLIC_MAX_TTL_SECONDS", "0"),
        ("SIRR_PUBLIC_MAX_TTL_SECONDS", "315360001"),
        ("SIRR_PUBLIC_MAX_TTL_SECONDS", "1 week"),
        ("SIRR_PUBLIC_MAX_VALUE_BYTES", "0"),
        ("SIRR_PUBLIC_MAX_VALUE_BYTES", "67108865"),
        ("SIRR_PUBLIC_CREATES_PER_HOUR", "0"),
        ("SIRR_PUBLIC_CREATES_PER_HOUR", "0.5"),
        ("SIRR_PUBLIC_CREATES_PER_HOUR", "100001"),
        ("SIRR_RATE_LIMIT_PER_SECOND", ""),
        ("SIRR_RATE_LIMIT_PER_SECOND", "0"),
        ("SIRR_RATE_LIMIT_PER_SECOND", "-1"),
        ("SIRR_RATE_LIMIT_PER_SECOND", "0.0001"),
        ("SIRR_RATE_LIMIT_PER_SECOND", "1001"),
        ("SIRR_RATE_LIMIT_PER_SECOND", "nan"),
        ("SIRR_RATE_LIMIT_PER_SECOND", "inf"),
        ("SIRR_RATE_LIMIT_PER_SECOND", "5/s"),
        ("SIRR_RATE_LIMIT_BURST", "0"),
        ("SIRR_RATE_LIMIT_BURST", "-1"),
        ("SIRR_RATE_LIMIT_BURST", "1.5"),
        ("SIRR_RATE_LIMIT_BURST", "100001"),
        ("SIRR_DEFAULT_MAX_READS", "0"),
        ("SIRR_DEFAULT_MAX_READS", "2147483648"),
        ("SIRR_DEFAULT_MAX_READS", "never"),
        ("SIRR_DEFAULT_TTL_SECONDS", "0"),
        ("SIRR_MAX_TTL_SECONDS", "315360001"),
        ("SIRR_MAX_VALUE_BYTES", "0"),
        ("SIRR_MAX_BODY_BYTES", "1"),
        ("SIRR_MIN_FREE_BYTES", "-1"),
        ("SIRR_DRAIN_SECONDS", "-1"),
        ("SIRR_SHUTDOWN_SECONDS", "inf"),
        ("SIRR_PRUNE_INTERVAL_SECONDS", "nan"),
        ("SIRR_METRICS", "perhaps"),
        *(
            ("SIRR_METRICS_ADDRESS", value)
            for value in (
                "",
                "9464",
                ":9464",
                "localhost",
                "::1:9464",
                "[::1]",
                "[127.0.0.1]:1",
                "a b:1",
                "localhost:65536",
            )
        ),
        ("SIRR_METRICS_ADDRESS", "http://127.0.0.1:9464/metrics"),
        ("SIRR_LOG_LEVEL", "loud"),
        ("SIRR_LOG_FORMAT", "xml"),
    ],
)
def test_a_bad_value_is_refused_by_name(variable: str, value: str) -> None:
    """The error names the setting, never shows what was set, and has a hint."""
    with pytest.raises(BadSetting) as found:
        loaded({variable: value})
    assert str(found.value).startswith(variable.removeprefix("SIRR_").lower())
    assert found.value.hint is not None
    if len(value) > 5:
        assert value not in f"{found.value}{found.value.hint}"


@pytest.mark.parametrize(
    ("variable", "value", "name", "expected"),
    [
        ("SIRR_CORS_ORIGINS", "https://a.example, http://localhost:3000", "cors_origins", 2),
        ("SIRR_CORS_ORIGINS", "*", "cors_origins", 1),
        ("SIRR_TRUSTED_PROXIES", "10.0.0.0/8,::1", "trusted_proxies", 2),
        ("SIRR_PUBLIC_URL", "https://drop.example/prefix/", "public_url", 27),
        ("SIRR_PUBLIC_URL", "http://[::1]:8080", "public_url", 17),
    ],
)
def test_lists_and_addresses_are_read(variable: str, value: str, name: str, expected: int) -> None:
    """Lists are written with commas; a public URL may have a port and a path, and ends without a slash."""
    assert len(getattr(loaded({variable: value}), name)) == expected


def test_unlimited_reads_can_be_the_default() -> None:
    """`SIRR_DEFAULT_MAX_READS=unlimited` means that a secret without `max_reads` does not burn by reading."""
    assert loaded({"SIRR_DEFAULT_MAX_READS": "unlimited"}).caps.default_max_reads is None
    assert loaded({"SIRR_DEFAULT_MAX_READS": "3"}).caps.default_max_reads == 3


def test_a_default_life_over_the_maximum_is_refused() -> None:
    """Two settings that contradict each other are an error, not a silent choice."""
    with pytest.raises(BadSetting, match="must not exceed"):
        loaded({"SIRR_DEFAULT_TTL_SECONDS": "61", "SIRR_MAX_TTL_SECONDS": "60"})


def test_a_burst_without_a_rate_is_refused() -> None:
    """Whoever sets only the burst believes that there is a limit."""
    with pytest.raises(BadSetting, match="no effect without rate_limit_per_second"):
        loaded({"SIRR_RATE_LIMIT_BURST": "5"})


@pytest.mark.parametrize(
    ("rate", "burst", "expected"), [("0.5", None, 10), ("5", None, 10), ("7.2", None, 15), ("20", "1", 1)]
)
def test_a_burst_follows_the_rate(rate: str, burst: str | None, expected: int) -> None:
    """A rate alone is enough: the burst is twice the rate, and at least 10."""
    given = {"SIRR_RATE_LIMIT_PER_SECOND": rate} | ({} if burst is None else {"SIRR_RATE_LIMIT_BURST": burst})
    settings = loaded(given)
    assert (settings.rate_limit_per_second, settings.rate_burst) == (float(rate), expected)


def test_an_address_of_metrics_without_metrics_is_refused() -> None:
    """Whoever sets only the address believes that metrics are served; whoever says no may leave it where it is."""
    with pytest.raises(BadSetting, match="no effect without metrics"):
        loaded({"SIRR_METRICS_ADDRESS": "127.0.0.1:9464"})
    assert loaded({"SIRR_METRICS_ADDRESS": "127.0.0.1:9464", "SIRR_METRICS": "false"}).metrics_listener is None


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("127.0.0.1:9464", ("127.0.0.1", 9464)),
        ("[::1]:0", ("::1", 0)),
        ("0.0.0.0:65535", ("0.0.0.0", 65_535)),
        ("metrics.internal:80", ("metrics.internal", 80)),
    ],
)
def test_the_address_of_metrics_is_read(address: str, expected: tuple[str, int]) -> None:
    """It is an address or a name, and a port; without one there is none."""
    assert loaded({"SIRR_METRICS": "true", "SIRR_METRICS_ADDRESS": address}).metrics_listener == expected
    assert loaded({"SIRR_METRICS": "true"}).metrics_listener is None


def test_there_is_no_limit_unless_one_is_set() -> None:
    """The limiter is off by default."""
    assert loaded().rate_limit_per_second is None


def test_nobody_but_the_operator_stores_by_default() -> None:
    """Public creation is off, and has limits before anyone turns it on."""
    settings = loaded()
    assert settings.public_create is False
    caps = settings.public_caps
    assert (caps.max_value_bytes, caps.max_ttl_seconds, caps.default_ttl_seconds) == (65_536, 604_800, None)
    assert caps.default_max_reads == 1
    assert settings.public_body_limit == 6 * 65_536 + 65_536
    assert (settings.public_creates_per_hour, settings.public_burst) == (60, 10)


def test_public_creation_needs_a_key() -> None:
    """Without a key everyone is the operator, and the limits of strangers would hold for nobody."""
    with pytest.raises(BadSetting, match="public_create needs master_api_key"):
        loaded({"SIRR_PUBLIC_CREATE": "true"})
    assert loaded({"SIRR_PUBLIC_CREATE": "true", "SIRR_MASTER_API_KEY": "k"}).public_create
    assert not loaded({"SIRR_PUBLIC_CREATE": "false"}).public_create


@pytest.mark.parametrize("name", ["public_max_ttl_seconds", "public_max_value_bytes", "public_creates_per_hour"])
def test_limits_of_strangers_who_store_nothing_are_refused(name: str, tmp_path: Path) -> None:
    """Whoever sets only a limit thinks that strangers may store; whoever says that they may not may leave it there."""
    default = str(Settings.model_fields[name].default)
    for value in ("7", default):
        limit = {f"SIRR_{name.upper()}": value, "SIRR_MASTER_API_KEY": "k"}
        with pytest.raises(BadSetting, match=f"{name} has no effect without public_create"):
            loaded(limit)
        for said in ("true", "false"):
            assert getattr(loaded(limit | {"SIRR_PUBLIC_CREATE": said}), name) == int(value)
    assert getattr(loaded(limit, file="public_create = false", folder=tmp_path), name) == int(default)


@pytest.mark.parametrize(
    ("given", "value_bytes", "longest", "default", "body"),
    [
        ({"PUBLIC_MAX_VALUE_BYTES": "10"}, 10, 604_800, None, 65_596),
        ({"PUBLIC_MAX_VALUE_BYTES": "10", "MAX_VALUE_BYTES": "9"}, 9, 604_800, None, 65_590),
        ({"MAX_BODY_BYTES": "5000"}, 65_536, 604_800, None, 5000),
        ({"MAX_BODY_BYTES": "500000"}, 65_536, 604_800, None, 458_752),
        ({"PUBLIC_MAX_TTL_SECONDS": "60"}, 65_536, 60, None, 458_752),
        ({"PUBLIC_MAX_TTL_SECONDS": "60", "MAX_TTL_SECONDS": "59"}, 65_536, 59, None, 458_752),
        ({"PUBLIC_MAX_TTL_SECONDS": "60", "DEFAULT_TTL_SECONDS": "61"}, 65_536, 60, 60, 458_752),
        ({"PUBLIC_MAX_TTL_SECONDS": "60", "DEFAULT_TTL_SECONDS": "59"}, 65_536, 60, 59, 458_752),
    ],
)
def test_strangers_never_get_more_than_everyone(
    given: dict[str, str], value_bytes: int, longest: int, default: int | None, body: int
) -> None:
    """The smaller limit counts, whichever it is, and the default life fits into it."""
    settings = loaded({f"SIRR_{name}": value for name, value in given.items()} | PUBLIC)
    caps = settings.public_caps
    assert (caps.max_value_bytes, caps.max_ttl_seconds, caps.default_ttl_seconds) == (value_bytes, longest, default)
    assert settings.public_body_limit == body


def test_an_unknown_key_in_the_file_is_an_error(tmp_path: Path) -> None:
    """A misspelt key of `sirrd.toml` stops the start, and its value is not shown."""
    with pytest.raises(BadSetting, match="unknown setting 'master_key'") as found:
        loaded(file='master_key = "hush"', folder=tmp_path)
    assert "hush" not in str(found.value)


def test_a_file_that_is_no_toml_is_an_error_without_its_text(tmp_path: Path) -> None:
    """The parser's message would quote the file, which may hold a key."""
    with pytest.raises(BadSetting, match="not valid TOML") as found:
        loaded(file="master_api_key = hush", folder=tmp_path)
    assert "hush" not in str(found.value)


def test_a_setting_of_the_wrong_type_in_the_file_is_an_error(tmp_path: Path) -> None:
    """A number where a list belongs is named."""
    with pytest.raises(BadSetting, match="cors_origins"):
        loaded(file="cors_origins = 7", folder=tmp_path)


def test_unknown_variables_are_warned_about() -> None:
    """A misspelt `SIRR_*` variable is told; the client's own and foreign ones are not."""
    environ = dict.fromkeys(CLIENT_VARIABLES, "x") | {"SIRR_MAX_READ": "1", "HOME": "/", "SIRR_CONFIG": ""}
    _, warnings = load(flags={}, environ=environ, folder=FOLDER)
    assert warnings == [
        "unknown environment variable SIRR_MAX_READ; it is ignored: did you mean SIRR_DEFAULT_MAX_READS?"
    ]


def test_the_port_that_kubernetes_injects_is_ignored() -> None:
    """A service named `sirr` makes Kubernetes set `SIRR_PORT=tcp://…`: warned about, not fatal."""
    settings, warnings = load(flags={}, environ={"SIRR_PORT": "tcp://10.0.0.1:39999"}, folder=FOLDER)
    assert settings.port == 39_999
    assert len(warnings) == 1


def test_nothing_is_read_from_the_environment_behind_our_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """Settings come from the arguments of `load` alone."""
    monkeypatch.setenv("SIRR_PORT", "1")
    assert loaded().port == 39_999
    assert Settings().port == 39_999


def test_every_setting_is_shown_once() -> None:
    """The dump has every setting, with words where nothing is set."""
    shown = loaded({"SIRR_CORS_ORIGINS": "https://a.example,https://b.example"}).shown()
    assert shown.keys() == Settings.model_fields.keys()
    assert shown["cors_origins"] == "https://a.example, https://b.example"
    assert shown["master_api_key"] == "(unset)"
    assert shown["allow_open"] == "false"


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("127.0.0.1", "http://127.0.0.1:1"),
        ("0.0.0.0", "http://127.0.0.1:1"),
        ("::", "http://[::1]:1"),
        ("::1", "http://[::1]:1"),
        ("localhost", "http://localhost:1"),
    ],
)
def test_a_listener_is_reached_from_its_own_machine(host: str, url: str) -> None:
    """An address that means "all" is reached over loopback."""
    assert local_url(host, 1) == url


@pytest.mark.parametrize(
    ("variable", "value", "form"),
    [
        ("SIRR_PUBLIC_URL", "https://bücher.example", "write https://xn--bcher-kva.example"),
        ("SIRR_PUBLIC_URL", "https://Faß.example:8443/x/", "write https://xn--fa-hia.example:8443/x"),
        ("SIRR_PUBLIC_URL", "https://drop.example/x?y#z", "write https://drop.example/x"),
        ("SIRR_PUBLIC_URL", "https://user:pw@drop.example", "write https://drop.example"),
        ("SIRR_PUBLIC_URL", "drop.example", "begin with http:// or https://"),
        ("SIRR_PUBLIC_URL", "https://drop.example:99999", "an optional port"),
        ("SIRR_PUBLIC_URL", "https://a..example", "http(s)://host"),
        ("SIRR_TRUSTED_PROXIES", "172.18.0.1/16", "write 172.18.0.0/16"),
        ("SIRR_TRUSTED_PROXIES", "10.0.0.0/8, 172.18.0.1/255.255.0.0", "write 172.18.0.0/16"),
        ("SIRR_TRUSTED_PROXIES", "fd00::1/8", "write fd00::/8"),
        ("SIRR_TRUSTED_PROXIES", "proxy.internal", "names are not looked up"),
        ("SIRR_ALLOWED_HOSTS", "https://Bücher.example:1/x", "write xn--bcher-kva.example"),
        ("SIRR_ALLOWED_HOSTS", "a.example:80", "write a.example"),
        ("SIRR_CORS_ORIGINS", "https://App.example/", "write https://app.example"),
        ("SIRR_CORS_ORIGINS", "https://bücher.example", "write https://xn--bcher-kva.example"),
        ("SIRR_CORS_ORIGINS", "https://a.example,https://b.example:8443/x", "write https://b.example:8443"),
        ("SIRR_HOST", "[::1]", "write ::1"),
        ("SIRR_HOST", "127.0.0.1:8080", "write 127.0.0.1"),
        ("SIRR_HOST", "http://127.0.0.1", "the port is SIRR_PORT"),
        ("SIRR_PORT", "http", "must be a whole number"),
        ("SIRR_PORT", "70000", "must be less than or equal to 65535"),
        ("SIRR_ALLOW_OPEN", "perhaps", "must be true or false"),
        ("SIRR_MAX_VALUE_BYTES", "1MB", "a whole number of bytes, without a unit"),
        ("SIRR_MAX_TTL_SECONDS", "7d", "a whole number of seconds, without a unit"),
        ("SIRR_DRAIN_SECONDS", "5s", "a number of seconds, without a unit"),
        ("SIRR_DEFAULT_MAX_READS", "never", "a whole number from 1 to 2147483647, or unlimited"),
        ("SIRR_LOG_LEVEL", "loud", "'debug', 'info', 'warning' or 'error'"),
        ("SIRR_INSTANCE_NAME", "", "must have at least 1 character"),
        ("SIRR_IDLE_SECONDS", "0", "must be greater than or equal to 1"),
        ("SIRR_IDLE_SECONDS", "3601", "must be less than or equal to 3600"),
        ("SIRR_IDLE_SECONDS", "inf", "a number of seconds"),
    ],
)
def test_a_refused_setting_says_what_to_write(variable: str, value: str, form: str) -> None:
    """The message gives the form that would be right, where there is one, and the rule where there is none."""
    with pytest.raises(BadSetting) as found:
        loaded({variable: value})
    assert form in str(found.value)


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("SIRR_PUBLIC_URL", "http://my_sirrd:41200"),
        ("SIRR_PUBLIC_URL", "HTTPS://Drop.example/Under/"),
        ("SIRR_PUBLIC_URL", "https://xn--bcher-kva.example"),
        ("SIRR_PUBLIC_URL", "http://[2001:db8::1]:80"),
        ("SIRR_ALLOWED_HOSTS", "my_sirrd,192.0.2.1,[2001:db8::1],2001:db8::2"),
        ("SIRR_CORS_ORIGINS", "http://my_app:3000"),
        ("SIRR_HOST", "fe80::1%eth0"),
        ("SIRR_HOST", "sirrd.internal"),
        ("SIRR_IDLE_SECONDS", "1"),
    ],
)
def test_what_operators_write_is_taken(variable: str, value: str) -> None:
    """Underscores, capital letters, addresses and zones are what networks have."""
    loaded({variable: value})
