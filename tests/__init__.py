"""Before torch is loaded: beside other tests a process has one core, and what it starts as well."""

import os

if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")
