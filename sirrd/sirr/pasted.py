"""What a person types or pastes for a secret: a link in whatever wrapping it came, an id, or a key.

What is none of these never leaves this machine: a piece of a link that was sent as if it were a key would show a
server, and whatever stands before it, what only the recipient may know.
"""

from __future__ import annotations

import html
import ipaddress
import re
import sys
import unicodedata
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final
from urllib.parse import parse_qsl, unquote, urlsplit

from sirrd.sirr import edge
from sirrd.sirr.edge import USAGE, Failure

_LONGEST: Final = 64 * 1024
_ID: Final = r"[0-9A-Fa-f]{64}"
_BARE_ID: Final = re.compile(_ID)
_KEY: Final = re.compile(r"(?!\.{1,2}\Z)[A-Za-z0-9_.-]{1,256}")
_LINK: Final = re.compile(rf"(?P<base>[^#?]*?)(?<!/)/+s/+(?P<id>{_ID})(?P<rest>(?:[/?#].*)?)", re.DOTALL)
_IN_TEXT: Final = re.compile(
    rf"https?://[^\s<>\"'(){{}}]{{1,2048}}/s/{_ID}/?(?:\?[^\s#]*)?(?:#[A-Za-z0-9_-]+)?", re.IGNORECASE
)
_SCHEME: Final = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*):/+(.*)", re.DOTALL)
_SHARED: Final = re.compile(rf"/s/+({_ID})(?![0-9A-Fa-f])")
_HOST: Final = re.compile(r"(?:\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(?::[0-9]{1,5})?")
_IPV6: Final = re.compile(r"\[[0-9A-Fa-f:.]*:[0-9A-Fa-f:.]*\]")
_MARKDOWN: Final = re.compile(r"!?\[[^\]]*\]\(\s*(.*?)\s*\)?[\s.,;:!?]*", re.DOTALL)
_FRAGMENT: Final = re.compile(r"#([A-Za-z0-9_-]+)")
_FRAGMENT_LETTERS: Final = 44
_RANDOM: Final = re.compile(r"[A-Za-z0-9_-]{40,}")
_QUOTED: Final = re.compile(r"(?m)^[>|\s]+")
_WRAPPING: Final = "<>()[]{}\"'`*.,;:!?…“”„‟‘’‚‛«»‹›「」『』（）【】《》。，、"  # noqa: RUF001 - that is what surrounds links
_REWRITERS: Final = ("safelinks.protection.outlook.com", "urldefense.com", "urldefense.proofpoint.com")
_REWRITTEN: Final = (
    "this is a link as a mail system rewrote it; nothing was sent: copy the link out of the text of the message (in "
    "Outlook, answer the message to see it), or ask for it in another way"
)
_UNSEEN: Final = re.compile("[\u034f\u115f\u1160\u180b-\u180f\u3164\ufe00-\ufe0f\uffa0]")
"""What nobody sees either, beside controls and formats: joiners, fillers and variation selectors."""
_SEVERAL: Final = "there is more than one link here; nothing was sent: give one of them by itself"
_SPLIT: Final = (
    "where the server of this link begins cannot be told, since there are blanks before it; nothing was sent: give the "
    "link by itself, from https:// on"
)
_NOTHING: Final = "this is neither a link, an id nor a key; nothing was sent"
_PIECE: Final = (
    "this is a piece of a link; nothing was sent: the whole link is needed, from https:// to its last letter"
)


@dataclass(frozen=True, slots=True)
class Target:
    """What a secret is named by.

    Attributes:
        what: A link, an id, or a key: what a client takes.
        is_link: Whether it is a link.
        is_key: Whether it is a key.
        note: What the person has to know about it, or None.
    """

    what: str = field(repr=False)
    is_link: bool = False
    is_key: bool = False
    note: str | None = None

    @property
    def link(self) -> str | None:
        """The link, if it is one."""
        return self.what if self.is_link else None


@dataclass(frozen=True, slots=True)
class LinkOptions:
    """The argument and the option that name a secret."""

    what: str | None = field(repr=False)
    file: Path | None = None

    @property
    def uses_input(self) -> bool:
        """Whether standard input is read for it."""
        return self.file is None and (self.what == "-" or (self.what is None and not _has_keyboard()))

    def target(self, *, server: str | None) -> Target:
        """Take the link from where it is: a file, standard input, the keyboard, or the command line.

        Args:
            server: The server that is set, whose scheme a link without one gets.

        Raises:
            Failure: There is none, or what there is is none.
        """
        text = self._text()
        target = understood(text, server=server)
        if self.what not in {None, "-"} and not target.is_key:
            edge.note(
                "warning: others of this machine can read a command line: sirr get - takes the link from its input"
            )
        if target.note is not None:
            edge.note(f"warning: {target.note}")
        return target

    def _text(self) -> str:
        if self.file is not None:
            if self.what is not None:
                raise Failure("a link or --link-file, not both", USAGE)
            try:
                with self.file.open("rb") as opened:
                    return opened.read(_LONGEST).decode(errors="replace")
            except OSError as error:
                raise Failure(edge.reason_of(error), USAGE) from None
        if self.what is not None and self.what != "-":
            return self.what
        if self.what is None and _has_keyboard():
            from sirrd.sirr import terminal  # noqa: PLC0415

            return terminal.ask("Link: ").decode(errors="replace")
        if sys.stdin is None:
            raise Failure("standard input is closed, and no link was given", USAGE)
        return sys.stdin.buffer.read(_LONGEST).decode(errors="replace")


def _has_keyboard() -> bool:
    return sys.stdin is not None and sys.stdin.isatty()


def understood(text: str, *, server: str | None = None) -> Target:
    """Return what a person means.

    Args:
        text: What was typed or pasted.
        server: The server that is set, whose scheme a link without one gets.

    Raises:
        Failure: It is nothing that may be sent; the message repeats nothing of it.
    """
    text = text[:_LONGEST]
    if _KEY.fullmatch(bare := text.strip()) or _BARE_ID.fullmatch(bare):
        return _without_server(bare)
    cleaned = _cleaned(text)
    whole = _unwrapped("".join(cleaned.split()))
    if len({each.lower() for each in _SHARED.findall(whole)}) > 1:
        raise Failure(_SEVERAL, USAGE)
    if (rewritten := _inner(whole)) is not None:
        target = understood(rewritten, server=server)
        note = "a mail system rewrote this link, and whoever runs it knows the link, too"
        return Target(target.what, target.is_link, target.is_key, note)
    otherwise = Failure(_PIECE if re.search(_ID, whole) or _is_random(whole) else _NOTHING, USAGE)
    try:
        _check_server(cleaned, whole)
        if (link := _linked(whole, server)) is not None:
            return Target(link, is_link=True)
    except Failure as failure:
        otherwise = failure
    among = {_unwrapped(each) for each in _IN_TEXT.findall(cleaned)}
    if len(among) == 1 and (link := _linked(among.pop(), server)) is not None and ("#" in link or "#" not in cleaned):
        return Target(link, is_link=True)
    word = _unwrapped(cleaned)
    if _BARE_ID.fullmatch(whole) or _KEY.fullmatch(word):
        return _without_server(whole if _BARE_ID.fullmatch(whole) else word)
    raise otherwise


def _check_server(text: str, whole: str) -> None:
    """Refuse a link without its scheme whose server begins before a blank: words that stand there would be part of it.

    Raises:
        Failure: It is such.
    """
    found = None if "://" in whole else _LINK.fullmatch(whole)
    if found is not None and len(found["base"]) > len(_unwrapped(text).split()[0]):
        raise Failure(_SPLIT, USAGE)


def _unwrapped(text: str) -> str:
    """Take away what surrounds a link, but for the brackets of an IPv6 address."""
    text = text.strip().lstrip("_~").rstrip(_WRAPPING)
    return text if _IPV6.match(text) else text.lstrip(_WRAPPING + "_~")


def _without_server(bare: str) -> Target:
    """Take an id or a key, unless it looks like what stands behind the # of a link."""
    if _BARE_ID.fullmatch(bare):
        return Target(bare.lower())
    if re.search(_ID, bare) or _is_random(bare) or _is_fragment(bare):
        raise Failure(_PIECE, USAGE)
    return Target(bare, is_key=True)


def _is_random(text: str) -> bool:
    """Tell whether a part looks like random bytes as letters: people do not name anything so."""
    return any(
        re.search("[a-z]", each) and re.search("[A-Z]", each) and re.search("[0-9]", each)
        for each in _RANDOM.findall(text)
    )


def _is_fragment(text: str) -> bool:
    """Tell whether a text is the end of a link to the letter. One in 1500 has no digit, and does not look random."""
    if len(text) != _FRAGMENT_LETTERS or not text.startswith("E") or text == text.upper():
        return False
    from sirrd.link import BadLinkError, Fragment  # noqa: PLC0415 - it loads the cryptography

    try:
        Fragment.parse(text)
    except BadLinkError:
        return False
    return True


def _cleaned(text: str) -> str:
    """Take away what nobody sees and what surrounds a link: marks of mails, of Markdown, and of HTML."""
    text = "".join(each for each in text if each.isspace() or unicodedata.category(each) not in {"Cf", "Cc"})
    text = html.unescape(_QUOTED.sub("", _UNSEEN.sub("", text)))
    if (marked := _MARKDOWN.fullmatch(text.strip())) is not None:
        text = marked[1]
    text = _unwrapped(text).removeprefix("URL:").removeprefix("url:")
    if "://" not in text and re.search("%3a(%2f){2}", text, re.IGNORECASE):
        text = unquote(text)
    return text if "#" in text else text.replace("%2523", "#", 1).replace("%23", "#", 1)


def _linked(text: str, server: str | None) -> str | None:
    """Return a link in the form in which it was made, or None if this is none."""
    found = _LINK.fullmatch(text)
    if found is None:
        return None
    base = _base(found["base"], server)
    fragment = _FRAGMENT.search(found["rest"])
    if fragment is None:
        if "#" in found["rest"].rstrip("#"):
            raise Failure(_PIECE, USAGE)
        return f"{base}/s/{found['id'].lower()}"
    return f"{base}/s/{found['id'].lower()}#{_whole_fragment(fragment[1])}"


def _whole_fragment(text: str) -> str:
    from sirrd.link import BadLinkError, Fragment  # noqa: PLC0415 - it loads the cryptography

    reason = ""
    for each in dict.fromkeys((text, text.rstrip("_"), text.rstrip("-"))):  # _link_ and --link-- in other markup
        try:
            Fragment.parse(each)
        except BadLinkError as error:
            reason = reason or str(error)
        else:
            return each
    raise Failure(f"{reason}; nothing was sent", USAGE)


def _base(text: str, server: str | None) -> str:
    """Return what stands before the path of a link: scheme, host, and prefix."""
    if (found := _SCHEME.fullmatch(text)) is not None:
        scheme, rest = found[1].lower(), found[2]
    else:
        scheme, rest = "", text.lstrip("/")
    host, slash, prefix = rest.partition("/")
    if not host or "://" in prefix or re.search(_ID, prefix):
        raise Failure(_PIECE, USAGE)
    if scheme not in {"", "http", "https"} or _HOST.fullmatch(host) is None:
        raise Failure(_NOTHING, USAGE)
    host = host.lower()
    return f"{scheme or _scheme_for(host, server)}://{host}{slash}{prefix}".rstrip("/")


def _scheme_for(host: str, server: str | None) -> str:
    """Return the scheme of a link that lost it: that of the server that is set, or else https, but on this machine."""
    if server is not None and (parts := urlsplit(server)).netloc.lower() == host:
        return parts.scheme
    name = (urlsplit(f"//{host}").hostname or "").rstrip(".")
    try:
        is_here = ipaddress.ip_address(name).is_loopback
    except ValueError:
        is_here = name == "localhost" or name.endswith(".localhost")
    return "http" if is_here else "https"


def _inner(text: str) -> str | None:
    """Return the link within one that a mail system or a chat made of it, or None if this is none.

    Raises:
        Failure: It is one, and the whole link is not in it.
    """
    try:
        parts = urlsplit(text)
        host = (parts.hostname or "").lower()
    except ValueError:
        return None
    for _, value in parse_qsl(parts.query):
        if _LINK.fullmatch(value) is not None and "://" in value:
            return value if "#" in value or not parts.fragment else f"{value}#{parts.fragment}"
    if host.endswith(_REWRITERS):
        raise Failure(_REWRITTEN, USAGE)
    return None
