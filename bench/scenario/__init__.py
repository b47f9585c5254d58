"""Four applications, four policies, simulated vendors: one goes down, one grows dearer, a new model arrives."""
