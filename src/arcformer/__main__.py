"""``python -m arcformer`` is ``arcformer``."""

from __future__ import annotations

import sys

from arcformer.cli import main

if __name__ == "__main__":
    sys.exit(main())
