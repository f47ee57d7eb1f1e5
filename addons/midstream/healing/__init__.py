"""What follows a failure, and how two answers join. Pure.

failures.py   what kind of failure it is, and how long its provider wants to be left alone
plan.py       what comes next; breakers.py: which targets are not to be asked at present
delivered.py  what the client has; after_break.py: whether that can be gone on from; continuation.py: how to ask for the rest
splice.py     the later answer's events, as they follow on the earlier's: joint.py, joining.py, retold.py
"""
