"""A second reader of what a run of Baekji leaves behind, with nothing but Python's standard library.

It shares no code with the program that made the run: every module was written from a page below docs/formats, which it
names. scripts/verify_run.py is the one entry.
"""
