"""Values and decisions of the router: pure, without clocks, stores or wires."""
