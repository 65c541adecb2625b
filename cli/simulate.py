EXAMPLE = ""


def simulate() -> None:
    """To do."""
