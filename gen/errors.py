"""What the generator says when something does not fit."""


class CompileError(ValueError):
    """A network does not fit a core: which layer, which limit, what would help. One line."""
