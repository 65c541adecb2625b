"""The largest models and networks that a file may ask for: above all that were published, below what fills a memory.

Checked where a file is read, before anything is made of it.
"""

MOST_STEPS = 256
"""T_max."""
LARGEST_DIM = 8192
"""Channels of a token."""
MOST_LAYER_CHANNELS = 1 << 20
"""Channels of a layer, and heads of its attention."""
MOST_BLOCKS = 256
"""Blocks of a transformer, or of a stage."""
MOST_CHANNELS = 256
"""Channels of an image."""
LARGEST_SIDE = 4096
"""Rows or columns of an image, in pixels, or of a layer's map."""
MOST_CLASSES = 1 << 20
"""Sums of the readout."""
LARGEST_RATIO = 64
"""Inner channels over outer ones."""
LARGEST_KERNEL = 255
"""Rows or columns of a convolution."""
MOST_LEVELS = 255
"""The largest integer spike."""
LONGEST_NAME = 200
"""Letters of a layer's or a network's name."""
