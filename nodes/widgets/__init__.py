"""Inputs that several nodes share.

Reading order: `sockets` (types), `selection` (what to record), `view` (what to look at), `settings` (of training).
"""
