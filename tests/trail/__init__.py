"""Tests of what leaves the house: metrics, and what monitors them."""
