"""`python -m sirrd.sirr` is the command `sirr`."""

from sirrd.sirr.cli import main

main()
