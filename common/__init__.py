"""What every folder needs: whole files, one cache of results, one way to run a program, one lock, one `Progress`."""
