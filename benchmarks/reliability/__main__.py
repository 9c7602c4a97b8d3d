"""``python -m benchmarks.reliability PROGRAM ...``: runs one of the programs of this folder."""

from __future__ import annotations

import importlib
import sys

PROGRAMS = {
    "faults": "kills, full disks, lost files: is the result the same afterwards?",
    "fuzz": "damaged files, labels, settings and checkpoints by the thousand",
    "mutation": "would the tests notice a change of the code?",
    "soak": "repeated runs in one process: memory and open files",
    "licences": "licences of the packages that are installed with it",
}


def main() -> int:
    """Run the program that is named and return its exit status."""
    words = sys.argv[1:]
    if not words or words[0] not in PROGRAMS:
        print("usage: python -m benchmarks.reliability PROGRAM [--help]\n")
        for name, text in PROGRAMS.items():
            print(f"  {name:<10}{text}")
        return 0 if words in ([], ["--help"], ["-h"]) else 2
    program = importlib.import_module(f"benchmarks.reliability.{words[0]}")
    return int(program.main(words[1:]))


if __name__ == "__main__":
    sys.exit(main())
