"""MLflow: tracking that survives a dead server, packaging, the gate, registration, serving."""
