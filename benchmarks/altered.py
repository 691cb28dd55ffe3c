"""Starts the daemon with what no setting of it can change: one commit per request, no prune first, or a sampler.

`python -m benchmarks.altered [--one-commit-each] [--no-first-prune] [--samples FILE] COMMAND OF sirrd`
"""

from __future__ import annotations

import argparse
from pathlib import Path
from unittest import mock

from benchmarks.sampler import Sampler
from sirrd import background
from sirrd.cli import program
from sirrd.store.sqlite import writer


def main() -> None:
    """Change this process, then run the command in it."""
    parser = argparse.ArgumentParser(prog="benchmarks.altered")
    parser.add_argument("--one-commit-each", action="store_true")
    parser.add_argument("--no-first-prune", action="store_true")
    parser.add_argument("--samples", type=Path)
    options, command = parser.parse_known_args()
    if options.one_commit_each:
        # Never undone: this process serves nothing else.
        mock.patch.object(writer, "MAX_BATCH", 1).start()
    if options.no_first_prune:
        mock.patch.object(background, "FIRST_PRUNE_SECONDS", 0).start()
    if options.samples:
        Sampler(options.samples).listen()
    program.main(command)


if __name__ == "__main__":
    main()
