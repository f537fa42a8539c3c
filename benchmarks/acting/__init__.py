"""What the benchmarks of acting share: `cases` (results that are kept), `studio` (the demo model), and their parts."""
