"""The trained mapper as a program of its own: one file that other runtimes carry out."""
