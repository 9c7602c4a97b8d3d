"""A synthetic scene with known truth."""
