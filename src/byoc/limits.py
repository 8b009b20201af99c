"""Every time constant and size limit of the system, each with its reason. Seconds and bytes."""

from __future__ import annotations

# --- leases ---------------------------------------------------------------------------------
BOOT_LEASE = 300.0
"""From power-on until the agent's first renewal. Covers a slow boot and the agent's arrival; an
instance that no client ever reaches ends itself after this."""
LEASE = 90.0
"""How long an instance lives without hearing from its client. Longer than a 30 s network cut with
a reconnect after it; a dead laptop costs at most this."""
LEASE_RENEW_EVERY = 15.0
"""A sixth of the lease, so five renewals in a row may be lost."""
TAG_LEASE = 900.0
"""How far ahead the cloud's own tags say that an instance may live. Ten leases, so that the tag
always outlasts what the agent was granted, and renewing it costs a request every few minutes only;
what no lease ended is taken for abandoned after this."""
LIFETIME = 24 * 3600.0
"""What a cloud itself gives an instance at most, where it can (GCP's maxRunDuration): the last net
below the leases. A longer run says so with ``lifetime``."""
MAX_INSTANCES = 64
"""Instances of one installation that may live at a time, unless the setting says otherwise: no
mistake in a loop becomes a bill of thousands."""
IDLE_WINDOW = 60.0
"""How long an instance stays warm after a run, Modal's ``scaledown_window`` default."""
END_GRACE = 5.0
"""Between SIGTERM and SIGKILL when a command or an instance ends, or a run that failed."""
EXIT_GRACE = 30.0
"""What a container's exit hooks may take, Modal's figure."""

# --- connecting -----------------------------------------------------------------------------
CONNECT_TIMEOUT = 10.0
"""One TCP connect + key exchange + authentication. Seven round trips even at 1 s each."""
BOOT_TIMEOUT = 300.0
"""From an accepted launch to a reachable sshd; big GPU types take minutes."""
BOOT_POLL = 0.02
"""First pause between two looks at a booting instance; doubles up to :data:`BOOT_POLL_MAX`."""
BOOT_POLL_MAX = 2.0
HELLO_TIMEOUT = 30.0
"""From the exec of the bootstrap to the agent's hello; a cold disk may need seconds for Python."""
RECONNECT_PAUSE = 0.2
"""First pause before a lost connection is made anew; doubles to :data:`RECONNECT_PAUSE_MAX`."""
RECONNECT_PAUSE_MAX = 5.0
KEEPALIVE_EVERY = 5.0
"""Link-level ping when nothing else was sent; finds a silent cut."""
SILENCE_LIMIT = 20.0
"""No byte for this long although pinged: the connection counts as cut and is re-made."""

# --- wire -----------------------------------------------------------------------------------
CHUNK = 256 * 1024
"""Largest frame we send: keeps log and control frames at most a few ms behind bulk data."""
MAX_FRAME = 1024 * 1024
"""Largest frame we accept; anything bigger is garbage or an attack."""
STREAM_WINDOW = 4 * 1024 * 1024
"""Bytes a sender may have on one stream before the receiver has consumed them: twice sshd's fixed
2 MiB channel window, so that the channel and not this is the limit."""
UNACKED_LIMIT = 16 * 1024 * 1024
"""Bytes kept for resending after a cut, all streams together; a sender waits beyond it."""
ACK_EVERY = 1024 * 1024
"""An acknowledgement at least every so many received bytes."""
MAX_HEAD = 64 * 1024 * 1024
"""Largest JSON head of a message."""
MAX_MESSAGE = 64 * 1024 * 1024 * 1024
"""Largest message in all; above any instance's memory we rent today."""

# --- dispatch -------------------------------------------------------------------------------
BATCH_MAX = 64
"""Most inputs in one message (docs/performance.md: beyond 64 the transport is not the limit)."""
PREFETCH_TARGET = 0.03
"""Seconds of predicted work kept queued at a container: hides a round trip without hoarding."""
PREFETCH_MAX = 256
"""Most inputs queued at one container."""
MAP_WINDOW = 1000
"""Unfinished inputs a map has in flight before it pulls the next from its iterator (as Modal)."""
FLUSH_AFTER = 0.002
"""A finished result waits at most this long for others to share its message."""

FUNCTION_TIMEOUT = 300.0
"""Seconds an attempt may take where nothing else is said, Modal's default."""

# --- state ----------------------------------------------------------------------------------
BUSY_TIMEOUT = 10.0
"""How long one client waits for another's journal transaction."""
