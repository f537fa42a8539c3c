"""Files that come from elsewhere: how far they are read (`bounds`), and pictures (`pictures`)."""
