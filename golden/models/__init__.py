"""Trained models in PyTorch, and their checkpoints."""
