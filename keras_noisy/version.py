"""The version, in a module of its own so that setup.py reads it as text."""

__version__ = "0.2.0"
