"""Seeded faults: realistic mistakes, each of which a test must notice.

Tools such as cosmic-ray and mutmut generate mutants wholesale and address one by its number among the occurrences in a
file, which changes with every edit. Here each fault is chosen, has a name, and is found by the shape of the code.
"""
