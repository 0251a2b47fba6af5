def is_nnunet(root):
    return False


def read_nnunet(root):
    return {}


def read_sheet(stream, name):
    return {}
