"""The pipeline, its local runner and the command line."""
