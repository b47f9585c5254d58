"""What usage is, whose it is, and how it is summed: values without a store."""
