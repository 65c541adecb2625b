# %% [markdown]
# # A tour of SpikeLoom
# From a trained model to what its hardware does, cell by cell: open this file in an editor that knows `# %%` cells, or
# run it whole with `python examples/tour.py`. It needs Verilator, no board, and a few minutes the first time.

# %%
from dataclasses import replace
from pathlib import Path

import spikeloom

# %% [markdown]
# ## The model
# `load` takes a file or the name of a model in the package. This one is a Spikformer for 8x8 digits whose training gave
# each layer its own number of time steps.

# %%
checkpoint = spikeloom.load("digits")
print(checkpoint.header["split"], "- accuracy", checkpoint.header["accuracy"])

# %% [markdown]
# ## Integers
# `quantize` folds the batch norms and rounds the weights. From here on everything is exact.

# %%
network = spikeloom.quantize(checkpoint, bits=8)
narrow = spikeloom.quantize(checkpoint, bits=4, scales="free")
print({layer.name: layer.steps for layer in network.spiking}, "mean", network.t_avg)

# %%
images, labels = spikeloom.load_images(network)
for made in (network, narrow):
    print(made.layers[0].weight_bits, "bits:", spikeloom.execute(made, images).accuracy(labels))

# %% [markdown]
# ## What spikes
# With `record=True` every spike is kept: (T_l, images, channels, height, width).

# %%
execution = spikeloom.execute(network, images[:20], record=True)
for name, spikes in execution.spikes.items():
    print(f"{name:12} {str(spikes.shape):24} {100 * spikes.mean():5.1f} % fire")

# %% [markdown]
# ## Hardware
# `compile` places the network on the smallest core that runs it, and `simulate` runs the core's Verilog beside the
# integers: every spike, every class sum and every counter is compared.

# %%
design = spikeloom.compile(network, lanes=16)
report = spikeloom.simulate(design, images[:4])
print(
    report.images_bit_exact,
    "of",
    report.images,
    "images bit-exact,",
    round(report.cycles_per_image),
    "cycles per image",
)
assert report.images_bit_exact == report.images and not report.counter_differences

# %% [markdown]
# Time steps are data: the same core runs the same weights with other steps, and fewer steps are fewer cycles.

# %%
shorter = network.with_steps({"block.0.fc1": 1})
quick = spikeloom.simulate(spikeloom.compile(shorter, lanes=16), images[:4])
print("block.0.fc1 with one step:", round(quick.cycles_per_image), "cycles per image")
assert quick.images_bit_exact == quick.images and quick.cycles_per_image < report.cycles_per_image

# %% [markdown]
# ## Files
# Verilog, test bench, test vectors and a manifest, for tools of your own; `save` and `load` keep a network.

# %%
folder = Path("build/tour")
manifest = design.save(folder / "verilog", images[:2], labels[:2])
print(sorted(manifest["files"]))
replace(network, name="my digits").save(folder / "network.safetensors")
assert spikeloom.load(folder / "network.safetensors").name == "my digits"

# %% [markdown]
# ## A board
# These take minutes and a board, so they are not run here:
#
#     report = spikeloom.build(design, board="ulx3s-85f")
#     device = spikeloom.Device("/dev/ttyUSB0")
#     device.load(design.program)
#     print(device.infer(images[0]).label)
