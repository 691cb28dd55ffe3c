"""The command `sirrd`."""
