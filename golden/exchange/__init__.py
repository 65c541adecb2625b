"""Files of other programs: official checkpoints in, NIR in and out."""
