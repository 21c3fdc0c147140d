"""The longest wait of a test, by the load of the machine."""

from __future__ import annotations

import os
from typing import Final

_ON_AN_IDLE_MACHINE = 120.0

PATIENCE: Final[float] = _ON_AN_IDLE_MACHINE * max(1.0, os.getloadavg()[0] / (os.cpu_count() or 1))
"""Seconds until a test fails instead of waiting: two minutes, and more where processes queue for the processors. Only a
test that fails takes as long."""
