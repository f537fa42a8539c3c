"""The demo model's makers: what `demo/train.py` runs. The pack itself only reads the weights."""
