"""Files on disk: atomic writes, safe paths, state folders, free space, immutable content."""
