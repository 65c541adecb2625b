"""The accelerator: one component a file, put together in `core`."""
