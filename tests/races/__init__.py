"""Races over HTTP, in process and against the real daemon: many seeded rounds, exact counts."""
