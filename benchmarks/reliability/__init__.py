"""How much trouble the program survives: each figure of docs/reliability.md is printed here."""
