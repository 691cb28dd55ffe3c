"""Measures the daemon beside a bare Starlette endpoint, on one machine, in one run: `scripts/bench`."""
