"""The training data: one picture, masks, handles and starting words.

Reading order: `scene` (the training data), `painted` (masks painted in palette colours), `masks` (masks from several
sources), `cautions` (what may go wrong), `preview` (the picture that shows all of it).
"""
