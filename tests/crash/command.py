"""Runs a command of `sirrd` that kills itself at a step: `python -m tests.crash.command STEP MOMENT NTH ARGUMENT…`."""

from __future__ import annotations

import sys

from sirrd.cli import program as cli
from tests.crash.steps import set_step

if __name__ == "__main__":
    set_step(sys.argv[1], sys.argv[2], int(sys.argv[3]))
    sys.exit(cli.run(sys.argv[4:]))
