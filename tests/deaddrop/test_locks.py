"""The memory of wrong proofs: what it lets pass, and that it stays small."""

from __future__ import annotations

import hashlib

import pytest

from sirrd.deaddrop import locks
from sirrd.deaddrop.locks import Guesses, opens
from sirrd.errors import ProofMismatch, ProofRequired, TooManyProofs
from sirrd.model import Proof
from sirrd.store import refuse
from tests.conftest import NOW

PROOF = Proof(bytes(range(32)))
LOCK = hashlib.sha256(PROOF.shown).digest()
WRONG = Proof(bytes(32))


def guess(guesses: Guesses, fingerprint: str = "a", now: int = NOW) -> None:
    """Show a wrong proof."""
    with pytest.raises(ProofMismatch):
        guesses.unlock(WRONG)(LOCK, fingerprint, now)


def test_a_window_slides() -> None:
    """Ten within a minute are too many, whenever the minute begins; an eleventh is looked at once the first is old."""
    guesses = Guesses()
    for second in range(0, 60, 6):
        guess(guesses, now=NOW + second)
    for second in (54, 59):
        with pytest.raises(TooManyProofs) as caught:
            guesses.unlock(PROOF)(LOCK, "a", NOW + second)
        assert caught.value.retry_seconds == 60 - second
    guess(guesses, now=NOW + 60)
    with pytest.raises(TooManyProofs):
        guesses.unlock(PROOF)(LOCK, "a", NOW + 65)
    guesses.unlock(PROOF)(LOCK, "a", NOW + 66)


def test_a_clock_that_was_set_back_keeps_nobody_out_for_longer() -> None:
    """What was wrong in the future does not count."""
    guesses = Guesses()
    for _ in range(10):
        guess(guesses)
    guesses.unlock(PROOF)(LOCK, "a", NOW - 5000)


def test_what_is_old_is_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    """The memory holds the secrets of the last minute, and hardly more."""
    monkeypatch.setattr(locks, "_SWEEP_AT", 50)
    guesses = Guesses()
    for number in range(1000):
        guess(guesses, fingerprint=str(number), now=NOW + 10 * number)
    assert len(guesses._wrong) <= 50


def test_right_proofs_and_missing_ones_leave_nothing_behind() -> None:
    """Only what is wrong takes up memory."""
    guesses = Guesses()
    guesses.unlock(PROOF)(LOCK, "a", NOW)
    with pytest.raises(ProofRequired):
        guesses.unlock(None)(LOCK, "a", NOW)
    assert guesses._wrong == {}


def test_a_guess_counts_once_however_often_its_unit_is_run() -> None:
    """A batch that has to be undone is run again; the answer stays what it was."""
    guesses = Guesses()
    for _ in range(10):
        unlock = guesses.unlock(WRONG)
        for _ in range(3):
            with pytest.raises(ProofMismatch):
                unlock(LOCK, "a", NOW)
    with pytest.raises(TooManyProofs):
        guesses.unlock(PROOF)(LOCK, "a", NOW)


def test_without_anything_shown_nobody_passes() -> None:
    """This is what a store does unless it is told otherwise."""
    with pytest.raises(ProofRequired):
        refuse(LOCK, "a", NOW)


def test_a_proof_opens_its_own_lock_alone() -> None:
    """And nothing malformed opens any."""
    assert opens(LOCK, PROOF)
    assert not opens(LOCK, WRONG)
    for shown in (b"", b"\0", bytes(31), bytes(33)):
        assert not opens(hashlib.sha256(shown).digest(), Proof(shown))
    assert repr(PROOF) == "Proof()"
