"""A study's cells as tables."""
