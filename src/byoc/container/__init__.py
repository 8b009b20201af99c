"""Inside a container: the zygote that forks it, the user's code, its inputs and its own calls.

Standard library and byoc's travelling rooms only, CPython 3.8+. The agent starts a zygote by name
and speaks with it and its containers over sockets.
"""
