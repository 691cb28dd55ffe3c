"""What the OpenAPI description says in sentences, of the server, its tags and each operation; and its examples."""

from __future__ import annotations

from typing import Any, Final

SERVER: Final = (
    "Stores secrets that burn when they are read. A dead drop is named by a random id, an org secret by a key within "
    "an org. Only a GET of a secret, or a POST of its page, spends a read. Errors are JSON with a stable code; for "
    "whoever likes text/html better in Accept, as browsers do, they are pages with the same status. OPTIONS of any "
    "path is 204 with Allow. A request has to name a host that means this server."
)
TAGS: Final = {
    "dead drops": "Secrets named by a random id; reading needs nothing else, unless they are locked.",
    "org secrets": "Secrets named by a key within an org.",
    "operation": "What the operator does with all of them.",
    "pages": "What people see in a browser.",
    "server": "What supervisors and programs ask of the server itself.",
}

_READ: Final = (
    "Gives the value, and spends one read; with the last one the secret burns or is sealed. With X-Sirr-Attempt the "
    "same request can be sent again after a lost answer, and spends nothing more. A prefetch, another site, and a look "
    "(X-Sirr-Look) that something on the way made a read are refused and spend nothing."
)
_PEEK: Final = (
    "Tells in headers how often the secret can be read, and until when; spends nothing. With X-Sirr-Look a proxy that "
    "makes a GET of it spends nothing either."
)
_AMEND: Final = "What is absent stays as it is. The read count is 0 again, and a sealed secret can be read again."
_DELETE: Final = "Deletes the secret, sealed or not, unread. Who shows the proof of its lock needs no bearer."
_RECEIVED: Final = "Erases what is kept for an attempt, since its reader has the value. The answer is always the same."
_LIST: Final = "Gives metadata, never a value. Without limit the whole list is streamed."
_PRUNE: Final = "Removes what has expired, at once rather than at the next tick, and tells how much that was."

OPERATIONS: Final[dict[str, tuple[str, str]]] = {
    "list": ("dead drops", f"{_LIST} Org secrets are among them."),
    "create": ("dead drops", "Stores a value under a new random id, and gives that id and the URL to share."),
    "read": ("dead drops", f"{_READ} A bare key of an org secret stands for it, if one org alone has it."),
    "peek": ("dead drops", _PEEK),
    "amend": ("dead drops", _AMEND),
    "delete": ("dead drops", _DELETE),
    "received": ("dead drops", _RECEIVED),
    "showPage": ("pages", "Opening the page spends nothing; its button does."),
    "headPage": ("pages", "The same without content."),
    "revealPage": ("pages", "The form of the page: gives a page with the value, and spends one read."),
    "listOrg": ("org secrets", _LIST),
    "createInOrg": ("org secrets", "Stores a value under a key that no live secret of the org has."),
    "readInOrg": ("org secrets", _READ),
    "peekInOrg": ("org secrets", _PEEK),
    "amendInOrg": ("org secrets", _AMEND),
    "deleteInOrg": ("org secrets", _DELETE),
    "receivedInOrg": ("org secrets", _RECEIVED),
    "pruneOrg": ("operation", _PRUNE),
    "prune": ("operation", _PRUNE),
    "rotation": ("operation", "Tells how many records are not yet under the newest master key."),
    "rotate": ("operation", "Begins, or goes on, to move all records to the newest master key, beside other requests."),
    "health": ("server", "Touches no storage: who gets an answer knows that the process is alive."),
    "healthHead": ("server", "The same without content."),
    "ready": ("server", "Asks the storage, at most once a second."),
    "readyHead": ("server", "The same without content."),
    "metrics": ("operation", "For monitoring: numbers alone, never a name, an id or an address."),
    "metricsHead": ("operation", "The same without content."),
    "version": ("server", "Tells name, version and limits."),
    "versionHead": ("server", "The same without content."),
    "openapi": ("server", "What you are reading."),
    "openapiHead": ("server", "The same without content."),
    "robots": ("server", "Disallows everything."),
    "robotsHead": ("server", "The same without content."),
    "createPage": ("pages", "Encrypts a text or a file in the browser, stores it, and shows the link."),
    "headCreatePage": ("pages", "The same without content."),
    "static": ("pages", "Style, icon and modules; a path holds a hash of them all, so they may be kept for ever."),
    "staticHead": ("pages", "The same without content."),
}
"""By the name of the operation: its tag, and what it does."""

EXAMPLES: Final[dict[str, dict[str, Any]]] = {
    "PutBody": {"value": "correct horse battery staple", "ttl_seconds": 86_400, "max_reads": 1},
    "OrgPutBody": {"key": "DB_PASSWORD", "value": "correct horse battery staple", "max_reads": None, "delete": False},
    "PatchBody": {"max_reads": 3, "ttl_seconds": 86_400},
}
"""By the name of the body."""
