EXAMPLE = ""


def demo() -> None:
    """To do."""
