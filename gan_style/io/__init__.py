"""Files: written whole or not at all, read within bounds, brought from elsewhere."""
