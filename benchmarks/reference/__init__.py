"""What a reader of the paper would run today, by the libraries' public interfaces alone."""
