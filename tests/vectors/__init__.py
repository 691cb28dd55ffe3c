"""Golden vectors of every durable format, one case a file."""
