"""A rank starts without what it does not need."""

from __future__ import annotations

import subprocess
import sys


def test_a_rank_that_compiles_nothing_imports_no_compiler() -> None:
    program = (
        "import sys; import serving.experts.rank; "
        "found = sorted({'sympy', 'serving.compiled.steps'} & set(sys.modules)); sys.exit(', '.join(found) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
