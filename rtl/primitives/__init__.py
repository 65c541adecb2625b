"""Vendor primitives, each behind the signature of a portable component."""
