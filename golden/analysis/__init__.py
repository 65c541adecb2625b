"""What a network does for an image: operations, energy, similarity of its time steps."""
