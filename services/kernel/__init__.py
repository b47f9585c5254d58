"""Words that services must agree on: money, model references, errors, ids, the clock. Standard library only."""
