"""What one command does, one file each: data, model and prompt are joined here.

Import from the files: a command loads only what it needs (torch alone takes seconds).
"""
