"""Inputs that several nodes share.

Reading order: `sockets` (types), `declare` (how a widget is stated), `files` (what savers and loaders share),
`selection` (what to record), `view` (what to look at), `settings` (of training).
"""
