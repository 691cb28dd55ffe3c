"""The declaration of an endpoint: what is asked, who may, what is sent, what is answered, what is refused, and by whom.

Each room declares its own, beside their handlers. The route table, the description of all routes and the tests' table
of roles are made from these declarations, so nothing can be reachable without being described, or described otherwise
than it is reached.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from typing import Final, Literal, TypeAlias

from starlette.types import ASGIApp

from sirrd import errors
from sirrd.errors import SirrdError
from sirrd.http import auth
from sirrd.http.context import Request
from sirrd.http.wire.bodies import Body
from sirrd.http.wire.outcomes import Outcome
from sirrd.http.wire.parameters import Parameter
from sirrd.model import Caller

Handler: TypeAlias = Callable[[Request, Caller], Awaitable[ASGIApp]]
"""Answers whoever may ask."""

Who: TypeAlias = Callable[[Request], Caller]
"""Returns who asks, or raises: one of the functions in `auth`."""

Method: TypeAlias = Literal["GET", "HEAD", "POST", "PATCH", "DELETE"]
Errors: TypeAlias = tuple[type[SirrdError], ...]

LIMITED: Final[Errors] = (errors.RateLimited,)
STORAGE: Final[Errors] = (errors.Busy, errors.Unavailable)
IGNORED_BODY: Final[Errors] = (errors.BodyTooLarge, errors.BodyStalled)
"""Of a body that means nothing, and is waited for."""

JSON_BODY: Final[Errors] = (
    errors.UnsupportedMediaType,
    errors.BodyTooLarge,
    errors.BodyStalled,
    errors.BadBody,
    errors.BadField,
    errors.ValueTooLarge,
)

BY_WHO: Final[Mapping[Who, Errors]] = {
    auth.unasked: (),
    auth.caller: (),
    auth.reader: (errors.Unauthorised,),
    auth.recipient: (errors.Unauthorised,),
    auth.creator: (errors.Unauthorised,),
    auth.operator: (errors.Unauthorised,),
    auth.key_holder: (errors.Unauthorised, errors.ApiKeyNeeded),
}
"""How each of those who may refuses all others."""


@dataclass(frozen=True, slots=True)
class Links:
    """What can be done next.

    Attributes:
        names: Of endpoints.
        parameters: Of their paths, each with the expression that finds it.
    """

    names: tuple[str, ...]
    parameters: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Answered:
    """What an endpoint answers, unless it refuses.

    Attributes:
        text: What it means, in a sentence.
        model: Of its JSON.
        types: Of its content, where that is not JSON of a model.
        shows: What its headers tell beside what all answers have.
        links: What can be done next.
    """

    text: str
    model: type[Outcome] | None = None
    types: tuple[str, ...] = ()
    shows: Literal["nothing", "metadata", "repeat", "file"] = "nothing"
    links: Links | None = None


PAGE: Final = Answered("The page.")


@dataclass(frozen=True, slots=True)
class Form:
    """A form that may be sent.

    Attributes:
        text: What a body means that is another.
        fields: What counts of it.
    """

    text: str
    fields: tuple[Parameter, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """One method of one path.

    Attributes:
        method: By which it is asked.
        path: Its template; `{name}` stands for one segment.
        name: By which the description knows it; unique.
        summary: What it does, in a sentence.
        who: Finds out who asks, and raises if they may not: before the handler, which gets what it returns.
        handler: Answers.
        answers: What is answered, by status.
        parameters: What may stand in path, query and headers.
        body: The model of its JSON, or None: a body means nothing.
        form: The form that may be sent instead.
        refuses: What its handler raises, beside what follows from `who` and `body`.
        is_page: Whether people are answered: even refusals are pages.
    """

    method: Method
    path: str
    name: str
    summary: str
    who: Who
    handler: Handler
    answers: Mapping[int, Answered]
    parameters: tuple[Parameter, ...] = ()
    body: type[Body] | None = None
    form: Form | None = None
    refuses: Errors = ()
    is_page: bool = False

    @property
    def refusals(self) -> frozenset[type[SirrdError]]:
        """Everything that it can refuse a request by, once it is found."""
        return frozenset((*self.refuses, *BY_WHO[self.who], *(JSON_BODY if self.body else ())))


def alike(endpoint: Endpoint) -> tuple[Endpoint, Endpoint]:
    """Return an endpoint that is asked by GET, and the same for HEAD, where neither spends anything."""
    return endpoint, replace(endpoint, method="HEAD", name=f"{endpoint.name}Head")
