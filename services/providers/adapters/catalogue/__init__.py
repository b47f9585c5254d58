"""Reads catalogues: the shipped files, an operator's folder of the same format, and LiteLLM's price file."""
