"""Measurements of this tree: ``python -m benchmarks`` prints them as Markdown."""
