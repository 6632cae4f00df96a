"""Use of mmrag's parts in other packages; each needs its own extra."""
