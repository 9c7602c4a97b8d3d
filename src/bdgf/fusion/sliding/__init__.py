"""Operators that slide a window over an image and are read at its centre, in three forms.

- :mod:`bdgf.fusion.sliding.trained`: as masked products over all tokens, for training, and for
  maps on other devices than a CPU; what the other two are tested against;
- :mod:`bdgf.fusion.sliding.mapped`: by strips of rows, for maps on a CPU;
- :mod:`bdgf.fusion.sliding.exported`: by a fixed number of shifts, for export.
"""
