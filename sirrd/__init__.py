"""sirrd: a burn-after-read dead drop daemon."""

__version__ = "0.1.0"
