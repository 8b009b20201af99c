"""What runs as the machines: the nursery that makes them, and each machine's first process.

Standard library only, and nothing else of byoc: started by path with ``python -I -S``. All that a
machine's first process needs is imported before the machine exists, because inside it the host's
Python may be out of sight.
"""
