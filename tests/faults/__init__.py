"""Storage that fails under a running daemon: no value leaves, and what was answered is kept."""
