"""`python -m sirrd` is `sirrd`."""

from sirrd.cli import main

main()
