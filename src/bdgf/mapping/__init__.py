"""From a trained network to georeferenced rasters."""
