"""A file that does not import: the API server has an import error to tell."""

raise RuntimeError("on purpose")
