"""Readers: files of three formats into one IR."""
