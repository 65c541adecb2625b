"""Training: runs, their configuration and loop, pre-training, fine-tuning with integers, sweeps."""
