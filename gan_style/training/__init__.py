"""Training: from options to weights."""
