"""The pipeline steps that put several rooms to work, and what surrounds every step."""
