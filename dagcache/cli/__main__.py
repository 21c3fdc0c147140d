"""``python -m dagcache.cli``: the command ``dagcache``."""

import sys

from dagcache.cli.main import main

sys.exit(main())
