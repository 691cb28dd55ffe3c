"""Tests of the server: connections, the process, signals."""
