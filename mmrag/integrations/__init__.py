"""Other packages that mmrag's parts can be used in; each needs an extra of its own."""
