"""The static files of the pages: style, icon, modules. A hash of them all stands in their path, so they never change.

One hash for all rather than one each, so that a module can import another by its plain name.
"""

from __future__ import annotations

import hashlib
import re
from pathlib import Path
from typing import Final

from sirrd.errors import NoRoute
from sirrd.http import auth
from sirrd.http.context import Request
from sirrd.http.endpoints import Answered, Endpoint, alike
from sirrd.http.wire.answers import Answer, Header
from sirrd.http.wire.parameters import Parameter
from sirrd.model import Caller

TYPES: Final = {
    ".css": b"text/css; charset=utf-8",
    ".mjs": b"text/javascript; charset=utf-8",
    ".svg": b"image/svg+xml; charset=utf-8",
}
_VERSION_DIGITS: Final = 16
HEADERS: Final[tuple[Header, ...]] = (
    (b"cache-control", b"public, max-age=31536000, immutable"),
    (b"cross-origin-resource-policy", b"same-origin"),
)

_LEFT_OUT: Final = re.compile(rb"^ *(?:(?://|/\*).*\n)?", re.MULTILINE)
"""Lines that are comments as a whole, and indentation: who reads the code has the source, and a page stays small."""

FILES: Final = {
    path.name: _LEFT_OUT.sub(b"", path.read_bytes()) for path in sorted((Path(__file__).parent / "static").iterdir())
}
"""Every file by its name, as it is served."""

VERSION: Final = hashlib.sha256(
    b"".join(hashlib.sha256(part).digest() for name, body in FILES.items() for part in (name.encode(), body))
).hexdigest()[:_VERSION_DIGITS]
"""What the path holds: it changes with any byte of any file, and with nothing else."""


async def show(request: Request, _: Caller) -> Answer:
    """Answer with a file.

    Raises:
        NoRoute: It is not there, or not in this version.
    """
    name = request.path_params["file"]
    body = FILES.get(name)
    if body is None or request.path_params["version"] != VERSION:
        raise NoRoute
    kind = (b"content-type", TYPES[Path(name).suffix])
    return Answer(200, body, [kind, (b"content-length", b"%d" % len(body)), *HEADERS])


ENDPOINTS: Final = alike(
    Endpoint(
        method="GET",
        path="/static/{version}/{file}",
        name="static",
        summary="What the pages are made of.",
        who=auth.unasked,
        handler=show,
        parameters=(
            Parameter("path", "version", {"const": VERSION}, "A hash of all static files.", required=True),
            Parameter("path", "file", {"enum": list(FILES)}, "A static file.", required=True),
        ),
        answers={
            200: Answered("It.", types=tuple(kind.decode().partition(";")[0] for kind in TYPES.values()), shows="file")
        },
        refuses=(NoRoute,),
    )
)
