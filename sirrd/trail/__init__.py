"""What leaves the house, and what stays of it: the metrics."""
