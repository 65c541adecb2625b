"""Small E-SpikeFormers with random weights, and images for them."""

import torch

from spikeloom.golden.models.e_spikeformer import ESpikeformer
from spikeloom.golden.models.e_spikeformer_config import ESpikeformerConfig

SMALL = dict(
    height=12, width=10, dims=(8, 8, 12, 18), heads=3, depths=(1, 1, 1, 1, 1, 1), strides=(2, 1, 2, 1, 1),
    stem_kernel=5, sep_kernel=5,
)  # fmt: skip


def make(seed=0, dtype=torch.float32, *, dyadic=False, **fields):
    """A model with random weights whose batch norms have the statistics of some images, so that all levels fire.

    dyadic: all numbers are few bits, so that sums are exact in float64; the norms divide by powers of two.
    """
    torch.manual_seed(seed)
    model = ESpikeformer(ESpikeformerConfig(**{**SMALL, **fields})).double()
    norms = [x for x in model.modules() if isinstance(x, torch.nn.BatchNorm1d | torch.nn.BatchNorm2d)]
    with torch.no_grad():
        for norm in norms:
            norm.weight.uniform_(0.3, 0.6).mul_(model.config.levels)
            norm.bias.normal_(0.2, 0.3)
            norm.momentum = None
        model.head.weight.normal_()
        model(random_images(model, 8, seed))
        for norm in norms if dyadic else ():
            norm.eps = 0.0
            norm.running_var.copy_(4.0 ** norm.running_var.log2().div(2).round())
        for key, x in model.state_dict().items() if dyadic else ():
            if x.is_floating_point() and not key.endswith("running_var"):
                x.copy_((x * 32).round() / 32)
    return model.to(dtype).eval()


def random_images(model, count=4, seed=0):
    """Of falling brightness."""
    config = model.config
    generator = torch.Generator().manual_seed(seed)
    shape = (count, config.channels, config.height, config.width)
    pixels = torch.randint(0, 256, shape, generator=generator)
    return (pixels // torch.arange(1, count + 1).view(-1, 1, 1, 1)).to(torch.uint8)
