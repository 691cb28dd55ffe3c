"""The daemon under load, killed at any instant: what clients saw must fit what may have happened."""
