"""The training loop, its losses, schedule and checkpoints."""
