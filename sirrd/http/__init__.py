"""The HTTP face of sirrd: the contract, and nothing else."""
