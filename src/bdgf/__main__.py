"""``python -m bdgf`` is the command ``bdgf``."""

import sys

from bdgf.cli import main

sys.exit(main())
