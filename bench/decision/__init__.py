"""How fast a decision is: features, engine and plan, on one core."""
