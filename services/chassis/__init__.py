"""What every service needs even if it did nothing: from a servicer to a running process.

It knows no service and decides nothing of the product. README.md shows it by example.
"""
