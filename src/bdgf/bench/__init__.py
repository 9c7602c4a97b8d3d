"""Comparison of methods on the same pixels: seeds, numbers of labels, ablations, tables."""
