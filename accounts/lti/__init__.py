"""LTI 1.3: what QuokkaQ and learning platforms say to each other. Nothing here changes a row."""
