"""Amaranth components of the accelerator: one public class a file, streams between them.

`core` is the whole accelerator; `soc` puts a host bridge in front of it. Nothing here imports torch.
"""
