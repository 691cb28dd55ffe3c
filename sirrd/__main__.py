"""`python -m sirrd` is `sirrd`."""

from sirrd.cli.program import main

main()
