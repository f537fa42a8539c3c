"""What `bench gpu` measures.

Reading order: `bench` (the device and its notes), `recording`, `training`, `demo` (the demo model's own training) and
`limits` (scarce memory, cancelled runs, and a real server).
"""
