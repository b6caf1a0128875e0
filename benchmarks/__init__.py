"""Scripts that measure, and the recipes of the papers' tables as commands."""
