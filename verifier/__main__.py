"""`python -m verifier` is `countersign-verify`."""

import sys

from verifier.command import main

sys.exit(main())
