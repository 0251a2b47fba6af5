def is_lvit(root):
    return False


def read_lvit(root):
    return {}


def read_sheet(stream, name):
    return {}
