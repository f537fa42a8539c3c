"""What `bench gpu` measures: the device with its notes, recording, training, limits, and a real server."""
