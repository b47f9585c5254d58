"""How well and how fast routing decides: quality on recorded outcomes, natural prompts, drift, cost of deciding."""
