"""Pictures: decoding, thumbnails, the panorama."""
