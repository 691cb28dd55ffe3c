"""Tests of the contract, whoever keeps it: over HTTP, against the whole."""
