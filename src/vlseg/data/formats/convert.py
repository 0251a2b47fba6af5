ConvertSummary = object
Layout = str


def convert(*a, **k): ...
