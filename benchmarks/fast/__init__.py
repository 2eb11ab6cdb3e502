"""Speed and memory beside the reference recipe, taken side by side in one run."""
