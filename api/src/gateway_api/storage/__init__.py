"""The file system layer: atomic writes, safe paths, state folders, free space and immutable blobs."""
