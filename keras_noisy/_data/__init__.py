"""Arrays, predictions and files: what goes in, what is kept, what is on disk."""
