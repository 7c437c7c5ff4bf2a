"""`python -m dsm_native` is the command `dsm`."""

import sys

from dsm_native.cli import main

sys.exit(main())
