"""Where model, data and prompt are joined: training runs, evaluations, the demo.

Import from the files: a command loads only what it needs (Lightning alone takes seconds).
"""
