"""Bridges from a board's pins to the core's host bus."""
