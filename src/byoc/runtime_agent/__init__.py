"""The agent: what runs on an instance beside its containers.

Standard library only (cloudpickle travels inside the bundle), CPython 3.8+. The agent knows nothing
of clouds but how to end its host; it lives as long as its lease.
"""
