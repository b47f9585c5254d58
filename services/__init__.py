"""The services of Turnpike. Each meets the others only on the wire; kernel and chassis are what they share."""
