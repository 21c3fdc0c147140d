"""Which entry leaves and which is admitted: predicted reuse per byte, from each key's access history.

Imports only the standard library: times, weights and costs are arguments.
"""
