"""Locks: a secret that only someone who shows a proof can read, and the memory of wrong guesses.

A lock is the SHA-256 of 32 bytes, the proof, which `sirrd.link` derives from what stands in the fragment of a link. The
server never sees the fragment, so whoever follows a link without being a person or a program that was meant (a mail
scanner, a preview) cannot show the proof, and spends nothing.
"""

from __future__ import annotations

import hashlib
import hmac
from collections import deque
from typing import Final

from sirrd.errors import ProofMismatch, ProofRequired, TooManyProofs
from sirrd.model import Proof
from sirrd.store import Unlock

MAX_WRONG: Final = 10
WINDOW_SECONDS: Final = 60
_SWEEP_AT: Final = 1024


class Guesses:
    """Checks proofs, and remembers the wrong ones of the last minute: after ten, a secret is out of reach for a while.

    Only wrong proofs for locked secrets that are there take up memory, ten times each at most, and they are forgotten
    after a minute. It is a guard against flooding, not what makes a proof hard to guess: that is its 256 bits.
    """

    def __init__(self) -> None:
        self._wrong: dict[str, deque[int]] = {}

    def unlock(self, proof: Proof | None) -> Unlock:
        """Return what lets whoever shows the proof of a lock pass; it counts one guess at most, however often it runs.

        It raises `TooManyProofs` where too many were wrong within a minute, and does not look at this one then;
        `ProofRequired` where none was shown; `ProofMismatch` where it is not the one.
        """
        is_counted = False

        def check(lock: bytes, fingerprint: str, now: int) -> None:
            nonlocal is_counted
            if not is_counted:
                self._refuse_floods(fingerprint, now)
            if proof is None:
                raise ProofRequired(fingerprint)
            if not opens(lock, proof):
                if not is_counted:
                    self._remember(fingerprint, now)
                is_counted = True
                raise ProofMismatch(fingerprint)

        return check

    def _refuse_floods(self, fingerprint: str, now: int) -> None:
        wrong = self._wrong.get(fingerprint)
        if wrong is not None and len(wrong) == MAX_WRONG and 0 <= now - wrong[0] < WINDOW_SECONDS:
            raise TooManyProofs(fingerprint, wrong[0] + WINDOW_SECONDS - now)

    def _remember(self, fingerprint: str, now: int) -> None:
        if len(self._wrong) >= _SWEEP_AT:
            recent = range(now - WINDOW_SECONDS + 1, now + 1)
            self._wrong = {name: times for name, times in self._wrong.items() if times[-1] in recent}
        self._wrong.setdefault(fingerprint, deque(maxlen=MAX_WRONG)).append(now)


def opens(lock: bytes, proof: Proof) -> bool:
    """Tell whether a proof is the one of a lock, in a time that does not depend on how much of it is right."""
    return hmac.compare_digest(hashlib.sha256(proof.shown).digest(), lock) and proof.is_well_formed
