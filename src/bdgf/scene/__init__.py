"""Files to a scene: formats, grids, labels, splits, statistics, and the synthetic scene."""
