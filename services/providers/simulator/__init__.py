"""Pretends to be OpenAI, Anthropic, Gemini and Mistral, so that fallback, load and budgets are tried without a key.

Part of the product: `turnpike simulate`. Owns: scenarios (what goes wrong, when, by what seed), made-up answers, and
the vendors' wire formats from their side. Invariants: the vendors' own clients notice nothing; the same seed and the
same requests in the same order give the same answers and the same faults.
It is not a model: answers are words without sense, and it is not the real one's latency either, unless told so.
"""
