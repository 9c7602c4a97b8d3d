"""Accuracy on test pixels, and the simple methods beside it."""
