"""``python -m byoc``: the same as the ``byoc`` command."""

import sys

# `-m` puts the working folder first on the path, where a user's json.py would hide Python's own.
if not getattr(sys.flags, "safe_path", False):
    del sys.path[0]

from byoc.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
