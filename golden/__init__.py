"""Golden models: PyTorch networks, training, quantisation and the bit-exact integer executor.

`network` is the contract between training and hardware; it needs numpy and safetensors alone, so that
the generator can read a `Network` without importing torch.
"""
