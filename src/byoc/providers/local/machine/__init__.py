"""What runs beside a local instance, outside the client: its guardian, its init, its SSH server.

Standard library only (the library SSH server adds paramiko). These modules are started by path with
``python -I -S`` and import each other relatively, so that nothing else of byoc is loaded: a machine
is up in tens of milliseconds and keeps running when the client's environment changes.
"""
