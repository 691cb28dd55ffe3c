"""Tests of the stores: real files, no mocks."""
