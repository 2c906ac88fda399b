"""What jukinet costs, measured beside a floor in the same run."""
