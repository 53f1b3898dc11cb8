"""darknet: cfg and weights."""
