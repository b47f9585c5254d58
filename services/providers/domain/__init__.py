"""Values and decisions of the providers service: pure functions over the contract's own messages.

The content model is the generated messages themselves (docs/decisions/0020-content-is-protobuf.md), so nothing here
copies an answer from one shape to another.
"""
