"""Reports: what happened, as text and JSON."""
