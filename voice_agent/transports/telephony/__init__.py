"""Telephone carriers, one file each."""
