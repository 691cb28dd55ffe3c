"""The command line `sirr`: for those who send and receive secrets."""
