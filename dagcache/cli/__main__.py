"""``python -m dagcache.cli``."""

import sys

from dagcache.cli.main import main

sys.exit(main())
