"""Prices as the clouds tell them now, put into the user's data folder beside the packaged ones.

A list that a cloud answered with becomes quotes (one module for each kind of list, pure), quotes
and the last catalogue become the next one (:mod:`.merge`, pure), which is written (:mod:`.store`).
Who asks the clouds is in :mod:`byoc.providers`. Hardware, and what can be launched at all, stays as
packaged: a list of prices does not tell it.
"""
