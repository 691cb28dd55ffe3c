"""Tests of the command sirrd."""
