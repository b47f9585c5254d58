"""Counts tokens: an estimate and an upper bound of what a vendor will bill for a prompt.

Owns: the profile of each tokenizer family, the walk over a prompt, the formulas for pictures, sound and documents.
Invariants: the bound is never below the estimate; time and memory grow at most linearly and are capped by
`EXACT_BYTES_MAX`, beyond which bytes stand in for tokens; nothing is read from a network, ever.
It is not the vendor's count: hidden prompts change without notice, which is what the bounds' margins are for.
"""

from services.tokens.counting import TokenCount, count_input, count_text, input_bound, input_bounds
from services.tokens.measure import EXACT_BYTES_MAX
from services.tokens.profiles import TokenizerProfile, profile_for, profile_names
from services.tokens.vocabulary import warm

__all__ = [
    "EXACT_BYTES_MAX",
    "TokenCount",
    "TokenizerProfile",
    "count_input",
    "count_text",
    "input_bound",
    "input_bounds",
    "profile_for",
    "profile_names",
    "warm",
]
