"""The command line `spikeloom`: one thin file a command."""
