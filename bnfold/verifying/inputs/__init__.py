"""What the two models are fed: their interface, random samples, the user's own files."""
