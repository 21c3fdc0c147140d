"""Conditions that only some builds of Python meet."""

from __future__ import annotations

import sysconfig

import pytest

with_global_lock = pytest.mark.skipif(
    bool(sysconfig.get_config_var("Py_GIL_DISABLED")),
    reason="a free-threaded build splits reference counts, and collects by rules of its own",
)
