"""What lies on disk: the LMDB environment and its layout, coins, block files, undo data, the block index."""

import sys

if "t" in sys.abiflags:  # Python tells at length that its lock is on again, the node in its log (interpreter_lock.py)
    import warnings

    warnings.filterwarnings("ignore", ".*to load module 'lmdb", RuntimeWarning)
