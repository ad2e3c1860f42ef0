"""Ready strategies: one idea a file, to run as they are or to copy."""
