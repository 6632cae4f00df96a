"""Galleries: folders of images with their metadata, and uploads."""
