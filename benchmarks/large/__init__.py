"""What a large model takes: tokens a second, memory, and how near it comes to the card's limit."""
