"""From trained models to the integer `Network`: scales, rounding, bits of each layer."""
