"""Calls: queues, dispatch, ordering, retries, timeouts, and the sessions that hold them."""
