"""What the benchmarks of acting share: `cases` (results that are kept), `seen` (measures of pictures), `pace`."""
