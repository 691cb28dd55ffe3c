"""Tests of the door: descriptions, pages, the limiter, hosts."""
