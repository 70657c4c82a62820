import os

__version__ = "0.1.0"

# PyTorch's threads wait for each other by spinning. On a machine with two busy cores, a small network then trains many times slower
# than with one thread; waiting passively avoids that. It must be said before torch is imported; `genesis lab` and the tests pass it on.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
