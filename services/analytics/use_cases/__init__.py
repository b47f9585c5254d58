"""What the analytics service does, step by step."""
