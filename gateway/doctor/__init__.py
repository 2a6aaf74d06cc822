"""The doctor: what is amiss with a gateway's surroundings, and what to do about it.

Each subject is a file: pure checks over plain facts, which ``looking.py``, ``redis_facts.py``, ``reach.py`` and
``calls.py`` gather.
"""
