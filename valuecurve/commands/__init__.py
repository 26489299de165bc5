"""The commands of `valuecurve` that have a file of their own: plain functions, registered in cli.py.

Heavy imports stand inside the functions, so that `valuecurve` starts at once.
"""
