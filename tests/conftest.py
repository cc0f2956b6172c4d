"""Before torch is imported anywhere: idle threads sleep, so that parallel test processes do not stall each other."""

import os

os.environ.setdefault("OMP_WAIT_POLICY", "passive")
os.environ.setdefault("OMP_NUM_THREADS", "1")
