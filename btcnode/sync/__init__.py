"""The sync pipeline: chain driver, import of block files, worker processes."""
