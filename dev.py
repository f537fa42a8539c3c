#!/usr/bin/env python3
"""One command for each thing a developer or a visitor does: `python dev.py test | bench | demo`, `--help` for more.

This file says so in a sentence where Python is too old, so it is written for every Python 3; the rest is in devtools/.
"""

import sys

if sys.version_info < (3, 10):  # noqa: UP036 - older ones come here too
    sys.exit("dev.py: this is Python %d.%d, but 3.10 or newer is needed." % sys.version_info[:2])  # noqa: UP031

if __name__ == "__main__":
    from devtools.command_line import main

    sys.exit(main(sys.argv[1:]))
