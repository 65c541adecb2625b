"""The flow behind the command line and `import spikeloom`: from what a user names to networks, cores, reports."""
