"""What this package has inside a model's training step."""
