"""Results in darknet's own format."""
