"""Figures for a paper from a finished run, all in one style."""
