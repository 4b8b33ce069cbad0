"""``python -m mmlib`` is the same as the console script ``finishline``."""

from __future__ import annotations

import sys

from mmlib.cli import main

sys.exit(main())
