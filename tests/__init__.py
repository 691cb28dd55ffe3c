"""The test suite of sirrd."""
