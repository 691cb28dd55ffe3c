"""Tests of the use cases of dead drops."""
