"""SQLite: one file in the data folder, one writer."""
