"""Data sets: images with a fixed split, and fetching them when the user asks."""
