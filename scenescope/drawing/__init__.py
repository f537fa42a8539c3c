"""What pictures are drawn with: colours, letters and grids. It knows nothing about attention.

Reading order: `colormap` (numbers to colours), `pixels` (between tensors and pictures), `lettering` (words, scales and
colour bars), `labelled_grid` (pictures in rows and columns, with words beside them), `named` (a name under each
picture).
"""
