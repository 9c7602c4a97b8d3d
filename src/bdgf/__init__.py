"""Land-cover maps from co-registered rasters, by balanced diffusion-guided fusion (BDGF)."""

__version__ = "0.1.0"
