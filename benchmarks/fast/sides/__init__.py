"""What each side does in its process, told to the clock step by step."""
