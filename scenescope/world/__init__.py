"""The drawn world of the demo model: pictures of things by code, with captions and true masks."""
