"""Where settings come from: flags, environment, files of secrets, a file of settings; and whose files count."""

from __future__ import annotations

import difflib
import os
import re
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from pydantic import ValidationError

from sirrd.config.settings import CONFIG_FILE, PREFIX, SECRETS, UNITS, Settings
from sirrd.errors import BadSetting
from sirrd.model import MAX_READS
from sirrd.owner import ROOT, Foreign, TooLong, owner_of, read_text, stranger_on_the_way, unmapped, who

CLIENT_VARIABLES: Final = frozenset({"SIRR_SERVER", "SIRR_TOKEN", "SIRR_ORG", "SIRR_PASSPHRASE_FILE"})
_LONGEST_FILE_BYTES: Final = 1024 * 1024
_LONGEST_SECRET_BYTES: Final = 64 * 1024
_ALIKE: Final = 0.6
_EXPLAINED: Final = "`sirrd example-config` explains every setting"


def load(
    *,
    flags: Mapping[str, Any],
    environ: Mapping[str, str],
    folder: Path | None,
    config: Path | None = None,
    without_foreign: bool = False,
) -> tuple[Settings, list[str]]:
    """Bring the settings together.

    Args:
        flags: Settings from the command line, by field name; None means not given.
        environ: The environment.
        folder: Where `sirrd.toml` is looked for if nothing names a file; None if there is no such folder.
        config: The file that the command line names.
        without_foreign: Go on without a `sirrd.toml` that somebody else could have put into the folder.

    Returns:
        The settings, and warnings for the operator.

    Raises:
        BadSetting: Something is malformed, unknown or unsafe; the message names the setting and never its value.
    """
    from_environment, warnings = _from_environment(environ)
    named = config or (Path(environ["SIRR_CONFIG"]) if environ.get("SIRR_CONFIG") else None)
    from_file, foreign = _from_file(named, folder, without_foreign=without_foreign)
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
    trusted = _trusted(merged.get("data_dir"))
    for name in SECRETS:
        if (path := merged.pop(f"{name}_file", None)) is not None:
            if name in merged:
                raise BadSetting(f"{name} and {name}_file are both set", hint="set one of them")
            merged[name] = _read_secret(name, path, trusted)
    try:
        return Settings(**merged), warnings + foreign
    except ValidationError as error:
        raise _translated(error, (from_file, from_environment, given)) from None


def nearest(name: str, known: Iterable[str]) -> str | None:
    """Return which of the known names somebody may have meant, if one is like it."""
    return next(iter(difflib.get_close_matches(name, list(known), n=1, cutoff=_ALIKE)), None)


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
        elif variable.upper().startswith(PREFIX) and variable != "SIRR_CONFIG" and variable not in CLIENT_VARIABLES:
            meant = nearest(variable.upper().removeprefix(PREFIX), (name.removeprefix(PREFIX) for name in known))
            asked = f": did you mean {PREFIX}{meant}?" if meant else ""
            warnings.append(f"unknown environment variable {variable}; it is ignored{asked}")
    return found, warnings


def _from_file(named: Path | None, folder: Path | None, *, without_foreign: bool) -> tuple[dict[str, Any], list[str]]:
    """Return what the settings file says, and a warning if somebody else could have written it."""
    if named is None and folder is None:
        return {}, ["the working folder is not there any more, so no sirrd.toml was looked for in it"]
    path = named or folder / CONFIG_FILE  # type: ignore[operator]  # one of them is there
    warnings = []
    try:
        stranger = stranger_on_the_way(path, os.geteuid())
        if stranger and named is not None:
            warnings.append(f"the settings file {path} is not safe from other users: {stranger}")
        elif stranger and without_foreign:
            return {}, [f"{path} is not used, since it may be somebody else's: {stranger}"]
        elif stranger:
            raise BadSetting(
                f"{path} may be somebody else's, so it does not count: {stranger}",
                hint=f"if it is meant, name it: --config {path}; if not, run sirrd in another folder",
            )
        text = read_text(path, _LONGEST_FILE_BYTES)
    except (FileNotFoundError, NotADirectoryError):
        if named is None:
            return {}, []
        raise BadSetting(f"there is no settings file {path}", hint="see --config and SIRR_CONFIG") from None
    except OSError as error:
        raise BadSetting(
            f"the settings file {path} cannot be read: {error.strerror}", hint=f"it is read as {who(os.geteuid())}"
        ) from None
    except UnicodeDecodeError:
        raise BadSetting(f"the settings file {path} is not UTF-8 text", hint=_EXPLAINED) from None
    except TooLong:
        raise BadSetting(f"the settings file {path} is too large for one", hint=_EXPLAINED) from None
    return _parsed(text, path), warnings


def _parsed(text: str, path: Path) -> dict[str, Any]:
    try:
        found = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        # The parser's message quotes the file, which may hold a key.
        at = re.search(r"\(at [a-z0-9, ]+\)$", str(error))
        place = f" {at[0]}" if at else ""
        raise BadSetting(
            f"the settings file {path} is not valid TOML{place}",
            hint="text stands in quotes, one name a line; compare it with `sirrd example-config`",
        ) from None
    known = {*Settings.model_fields, *(f"{name}_file" for name in SECRETS)}
    for name, value in found.items():
        if name not in known:
            meant = nearest(name.lower().removeprefix(PREFIX.lower()), known)
            hint = f"did you mean {meant}? {_EXPLAINED}" if meant else _EXPLAINED
            if isinstance(value, dict):
                hint = f"settings stand outside of any [table]; {_EXPLAINED}"
            raise BadSetting(f"unknown setting {name!r} in the settings file {path}", hint=hint)
    return found


def _trusted(data_dir: object) -> frozenset[int]:
    """Return whose files may hold a secret: of whoever runs the command, of root, or of the data folder's owner."""
    owner = None
    if isinstance(data_dir, str | Path):
        try:
            owner = owner_of(Path(data_dir).expanduser())
        except (RuntimeError, ValueError):
            owner = None
    return frozenset({ROOT, os.geteuid(), *unmapped()} | ({owner.uid} if owner else set()))


def _read_secret(name: str, path: object, trusted: frozenset[int]) -> str:
    variable = f"{PREFIX}{name.upper()}_FILE"
    hint = f"{variable} takes the path of a file with nothing but the secret in it, which sirrd may read"
    try:
        return read_text(Path(str(path)), _LONGEST_SECRET_BYTES, trusted).strip()
    except OSError as error:
        raise BadSetting(f"the file named by {name}_file cannot be read: {error.strerror}", hint=hint) from None
    except ValueError:
        raise BadSetting(
            f"the file named by {name}_file is not UTF-8 text", hint=f"{hint}; PowerShell's > writes UTF-16"
        ) from None
    except TooLong:
        raise BadSetting(f"the file named by {name}_file is too large for a secret", hint=hint) from None
    except Foreign as error:
        raise BadSetting(
            f"the file named by {name}_file {error}, who could put another secret there",
            hint="give it to root or to the user of sirrd, and close it to others: chown and chmod go-w",
        ) from None


def _translated(error: ValidationError, sources: Sequence[Mapping[str, Any]]) -> BadSetting:
    """Turn pydantic's findings into one sentence without inputs."""
    found: Sequence[Any] = error.errors(include_input=False, include_context=False, include_url=False)
    first = found[0]
    name = str(first["loc"][0]) if first["loc"] else "settings"
    return BadSetting(f"{name}: {_in_words(name, first)}", hint=f"{_whence(name, sources)}{_EXPLAINED}")


def _whence(name: str, sources: Sequence[Mapping[str, Any]]) -> str:
    """Say where a setting comes from: its value is never shown, and may stand where nobody thinks of."""
    from_file, from_environment, flags = ({key.removesuffix("_file") for key in source} for source in sources)
    if name in flags:
        return f"it comes from --{name.replace('_', '-')}; "
    if name in from_environment:
        return f"it comes from {PREFIX}{name.upper()}; "
    return "it comes from the settings file; " if name in from_file else ""


def _in_words(name: str, found: Mapping[str, Any]) -> str:
    """Return what a setting must be, in the words of whoever writes it."""
    if name == "default_max_reads":
        return f"must be a whole number from 1 to {MAX_READS}, or unlimited"
    unit = UNITS.get(name.rpartition("_")[2], "")
    match found["type"]:
        case "bool_parsing" | "bool_type":
            return "must be true or false"
        case "int_parsing" | "int_type" | "int_from_float":
            return f"must be a whole number{unit}"
        case "float_parsing" | "float_type" | "finite_number":
            return f"must be a number{unit}"
    message = str(found["msg"]).removeprefix("Value error, ")
    return message.replace("Input should be", "must be").replace("String should", "must")
