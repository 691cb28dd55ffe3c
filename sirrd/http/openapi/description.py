"""The OpenAPI 3.1 description of all routes, made from what is declared of them.

It says neither more nor less than what the daemon does, so that programs made from it, and tools that attack with it,
find the daemon as described: every status, every header that an answer always has, and every name to the letter.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from sirrd import __version__
from sirrd.http import auth
from sirrd.http.context import Request
from sirrd.http.endpoints import Answered, Endpoint, alike
from sirrd.http.openapi import prose
from sirrd.http.openapi.answers import headers, shared
from sirrd.http.openapi.paths import paths
from sirrd.http.openapi.schemas import Json, schemas
from sirrd.http.wire import answers
from sirrd.model import Caller

_SECURITY_SCHEMES: Final[Json] = {
    "bearer": {"type": "http", "scheme": "bearer", "description": "SIRR_MASTER_API_KEY, if one is set."}
}


class Description:
    """Describes endpoints, and the one that shows this.

    Args:
        others: All but that one.

    Attributes:
        endpoints: All.
    """

    def __init__(self, others: Sequence[Endpoint]) -> None:
        own = Endpoint(
            method="GET",
            path="/openapi.json",
            name="openapi",
            summary="This description.",
            who=auth.unasked,
            handler=self.show,
            answers={200: Answered("It.", types=("application/json",))},
        )
        self.endpoints = (*others, *alike(own))
        self._shown: dict[str, answers.Answer] = {}

    async def show(self, request: Request, _: Caller) -> answers.Answer:
        """Answer with the description, which is made once."""
        url = request.state["context"].peers.public_url or "/"
        if url not in self._shown:
            self._shown[url] = answers.as_json(200, self.document(url))
        return self._shown[url]

    def document(self, url: str = "/") -> Json:
        """Return the whole description, of the server at a URL."""
        described = paths(self.endpoints)
        return {
            "openapi": "3.1.0",
            "info": {
                "title": "sirrd",
                "version": __version__,
                "summary": "A burn-after-read dead drop daemon.",
                "description": prose.SERVER,
                "contact": {"name": "Whoever runs this server"},
                "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
            },
            "servers": [{"url": url, "description": "This server."}],
            "tags": [{"name": name, "description": text} for name, text in prose.TAGS.items()],
            "paths": described,
            "components": {
                "securitySchemes": _SECURITY_SCHEMES,
                "headers": headers(),
                "responses": shared(described),
                "schemas": schemas(self.endpoints),
            },
        }
