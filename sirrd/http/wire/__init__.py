"""From bytes to values and back. Strict on the way in."""
