"""The server's only cryptography: seal, open, blind index, fingerprint, audit chain.

What is made here and what it looks like byte by byte stands in `docs/formats.md`, with vectors in `tests/vectors/`.
AES-256-GCM comes from `cryptography`, HMAC and HKDF from `kdf`. No key serves two purposes.
Nothing here may log, or put a key, a name or a value into an error or a repr (I6).

Three kinds of keys:

* *master keys* belong to the operator: the first seals, the others only open;
* a *record's keys* are derived from a master key and a random salt that lives in a slot of its own. Once the salt is
  overwritten, nobody can derive them again (I8);
* *inner keys* are random, made for a database, and kept in it sealed by a master key, so that indexes and
  fingerprints outlive a change of the master key. They can be renewed: each *generation* of them has a number, and the
  older ones are kept to know again what they named and sealed.
"""
