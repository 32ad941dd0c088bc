"""Countenance: a self-hosted face recognition server that accounts for every use of it."""

__version__ = "0.1.0"
