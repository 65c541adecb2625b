"""Amaranth components of the accelerator: one public class a file, streams between them.

`core` is the whole accelerator, `bridged_core` puts a host bridge in front of it, `board` pins and a clock around that.
Nothing here imports torch.
"""
