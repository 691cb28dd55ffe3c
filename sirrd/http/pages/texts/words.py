"""What the pages say, as a form that every language fills in: one that lacks a text does not pass the type check.

Texts are plain: they are escaped where they become HTML. Names in braces are filled in, in the page or on the way to it.
A text with a number has a `_one` and a `_more`, since none of the languages has a third form for what is counted here.
They are written for somebody who has never heard of sirrd: short sentences, and one word for one thing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple


class Notice(NamedTuple):
    """What takes the place of a page when there is nothing to do on it.

    Attributes:
        title: What happened.
        text: What it means, and a way on.
    """

    title: str
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Notices:
    """Every way in which a page can end.

    Attributes:
        gone: Burned, expired, deleted or never there.
        expired: It expired while the page was open.
        sealed: Its reads are used up.
        incomplete: The link lacks a part.
        insecure: The browser gives no cryptography to pages over plain http.
        needs_script: Nothing can be decrypted without script.
        lost: No proper answer came, so nobody knows whether a read was spent.
        over: The answer was lost, and it is too late to send it again.
        offline: There is no network, so nothing was asked.
        limited: Too many requests, or too many wrong passphrases.
        foreign: Another site caused the request.
        unreadable: The stored record does not open.
        unavailable: The server cannot do it now.
        nowhere: There is no page at this address.
        elsewhere: The server is not known by the host that was asked for.
        refused: Anything else.
    """

    gone: Notice
    expired: Notice
    sealed: Notice
    incomplete: Notice
    insecure: Notice
    needs_script: Notice
    lost: Notice
    over: Notice
    offline: Notice
    limited: Notice
    foreign: Notice
    unreadable: Notice
    unavailable: Notice
    nowhere: Notice
    elsewhere: Notice
    refused: Notice


@dataclass(frozen=True, slots=True, kw_only=True)
class Words:
    """All texts of one language, in the order in which a person meets them.

    Attributes:
        tag: Its BCP 47 tag.
        name: What it calls itself.
        notices: What takes the place of a page.
    """

    tag: str
    name: str
    notices: Notices

    # On all pages.
    language: str
    copy: str
    copied: str
    not_copied: str
    working: str
    retrying: str
    again: str
    leave_sure: str

    # The page of a secret.
    reveal_title: str
    often_once: str
    often_once_kept: str
    often_unlimited: str
    expires: str
    expires_never: str
    encrypted: str
    reveal: str
    not_used: str
    passphrase: str
    passphrase_needed: str
    passphrase_wrong: str
    shown_title: str
    shown_last: str
    shown_sealed: str
    shown_unchecked: str
    left_one: str
    left_more: str
    shown_file: str
    shown_form: str
    shown_undecrypted: str
    hide: str
    show: str
    download: str

    # The page that makes one.
    create_title: str
    create_text: str
    create_plain: str
    create_public: str
    create_script: str
    create_insecure: str
    secret: str
    file: str
    file_hint: str
    file_remove: str
    which: str
    which_text: str
    ttl: str
    ttl_second: str
    ttl_seconds: str
    ttl_minutes: str
    ttl_hour: str
    ttl_hours: str
    ttl_day: str
    ttl_days: str
    ttl_week: str
    ttl_month: str
    ttl_never: str
    reads: str
    reads_once: str
    reads_times: str
    reads_unlimited: str
    more: str
    passphrase_optional: str
    passphrase_hint: str
    last: str
    last_burns: str
    last_seals: str
    encrypt: str
    encrypt_hint: str
    api_key: str
    api_key_hint: str
    create: str
    problem_empty: str
    problem_large: str
    problem_files: str
    problem_file: str
    problem_passphrase: str
    problem_key: str
    problem_limited: str
    problem_lost: str
    problem_unavailable: str
    problem_server: str
    ready_title: str
    ready_text: str
    ready_passphrase: str
    link: str
    copy_link: str
    qr: str
    message: str
    message_text: str
    copy_message: str
    status: str
    status_unopened: str
    viewed_one: str
    viewed_more: str
    status_gone: str
    status_sealed: str
    status_expired: str
    status_destroyed: str
    status_alive: str
    status_unknown: str
    check: str
    destroy: str
    destroy_sure: str
    destroy_keep: str
    another: str
    another_sure: str
