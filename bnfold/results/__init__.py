"""What rooms hand each other, as frozen values: options, plans, comparisons, results."""
