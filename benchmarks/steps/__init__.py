"""One benchmark per training step."""
