"""The files that an operator starts from: in the package where it is installed, at their places in a checkout."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from sirrd.errors import StartupError

_PACKAGE: Final = Path(__file__).parents[1]
_PLACES: Final = {"sirrd.toml.example": "sirrd.toml.example", "sirrd.service": "deploy/sirrd.service"}


def text_of(name: str) -> str:
    """Return the text of an example by its name.

    Raises:
        StartupError: It was not installed.
    """
    for place in (_PACKAGE / "shipped" / name, _PACKAGE.parent / _PLACES[name]):
        if place.is_file():
            return place.read_text(encoding="utf-8")
    raise StartupError(f"{name} is not part of this installation", hint="install the wheel, or look in the sources")
