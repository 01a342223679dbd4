"""Honest submissions that look unusual: each must get full points.

`HONEST` maps what is unusual to a function that takes the released notebook as JSON and returns what is handed in: the
bytes of a file.
"""

from __future__ import annotations

import honest_code
import honest_files
from honest_forms import HONEST

__all__ = ["HONEST", "honest_code", "honest_files"]
