"""The OpenAPI 3.1 description of all routes, built once from the same body models that requests are checked with.

It says neither more nor less than what the daemon does, so that programs made from it, and tools that attack with it,
find the daemon as described: every status, every header that an answer always has, and every name to the letter.
"""

from __future__ import annotations

from functools import cache

from sirrd import __version__
from sirrd.http.context import Request
from sirrd.http.openapi import prose
from sirrd.http.openapi.answers import headers, shared
from sirrd.http.openapi.paths import paths
from sirrd.http.openapi.schemas import Json, schemas
from sirrd.http.wire import answers


async def show(request: Request) -> answers.Answer:
    """Answer with the description."""
    return _answer(request.state["context"].peers.public_url or "/")


@cache
def _answer(url: str) -> answers.Answer:
    return answers.as_json(200, description(url))


def description(url: str = "/") -> Json:
    """Return the whole description, of the server at a URL."""
    described = paths()
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
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer", "description": "SIRR_MASTER_API_KEY, if one is set."}
            },
            "headers": headers(),
            "responses": shared(described),
            "schemas": schemas(),
        },
    }
