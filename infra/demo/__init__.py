"""A course that never was: weeks of work of a few hundred learners, the same every time.

Everything goes through the same commands as real work. Only the clock is simulated, so a
term takes seconds. A demonstration that was cut off, or is started again, adds what is
missing and nothing else: work has an idempotency key for each step, people and course are
what they shall be however often that is said, and decisions of staff are counted.

``course``, ``people``, ``work`` and ``decisions`` say what happens, ``running`` lets it happen, and
``asking`` reads what is shown of it.
"""
