"""The public benchmark scenes: their files, keys, shapes, classes and splits, and getting them."""
