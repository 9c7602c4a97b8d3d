"""Files of every format behind one interface: bands, grid, and reading by windows."""
