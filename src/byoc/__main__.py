"""``python -m byoc``: the same as the ``byoc`` command."""

import sys

from byoc.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
