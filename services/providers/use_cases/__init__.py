"""What the providers service does: choose an endpoint, make one call, say what it cost."""
