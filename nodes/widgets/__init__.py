"""Inputs that several nodes share.

Reading order: `sockets` (types), `bounds` (of every number), `declare` (how a widget is stated), `files` (what savers
and loaders share), `painter` (what nodes with a painter share), `selection` (what to record), `view` (what to look at),
`settings` (of training).
"""
