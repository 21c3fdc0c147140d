"""A warm store in a database: frozen copies that outlive the process, in tables of their own.

Imported only where the setting ``warm_start`` is ``database``, and by commands. The format of a record, its signature
and the protocol are those of `dagcache.warm_start`.
"""
