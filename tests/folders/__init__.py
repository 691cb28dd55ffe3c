"""Data folders that earlier releases made, as text; a new release opens them all."""
